"""Backpropagation on the generalised cross-entropy (Zhang and Sabuncu 2018)."""

from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor, nn

from torchsid.core.beliefs import expectation
from torchsid.learners.backprop import Backprop
from torchsid.settings import Weight, checked


class GCE(Backprop):
    """Trains a network end to end on a loss between the cross-entropy (`q → 0`) and, at `q = 1`, half the mean absolute error.

        L = Σ_c t_c (1 − p_c^q) / q

    Source: Z. Zhang and M. Sabuncu, arXiv 1805.07836, NeurIPS 2018.

    Args:
        q: The cross-entropy towards 0, the mean absolute error at 1.
    """

    @checked
    def __init__(self, module: nn.Module, *, q: Annotated[float, Gt(0), Le(1)] = 0.7, label_smoothing: Weight = 0.0) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.q = q

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss at every position, `[B, ...]`."""
        return expectation(log_target, -(self.q * log_belief).expm1() / self.q)
