"""What a schedule runs, and what it returns."""

from dataclasses import dataclass

from torch import Tensor

from torchsid.cascade import Cascade
from torchsid.objective import LocalObjective
from torchsid.schedules.combine import GradientCombiner


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch through one cascade.

    Attributes:
        cascade: the extractor and L stages; its parameters get their `.grad`.
        objective: makes the losses `L_i`.
        x: the batch, `[B, ...]`.
        log_target: `p_y` as log-probabilities, `[B, C]`.
        weights: multiply the losses that are differentiated, `[L]`.
        combiner: merges the stages' `∂L_i/∂z` for the extractor.
    """

    cascade: Cascade
    objective: LocalObjective
    x: Tensor
    log_target: Tensor
    weights: Tensor
    combiner: GradientCombiner


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
