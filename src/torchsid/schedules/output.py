"""What one step returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepOutput:
    """Losses and beliefs of one step, all detached; the gradients are in `.grad` of the parameters.

    Attributes:
        stage_losses: mean local loss of each stage in nats, `[L]`, not weighted.
        log_beliefs: `p_0 … p_L` as log-probabilities, `[L+1, B, C]`.
    """

    stage_losses: Tensor
    log_beliefs: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum of the stage losses, a scalar."""
        return self.stage_losses.sum()
