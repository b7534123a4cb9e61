"""Backpropagation on the symmetric cross-entropy (Wang et al. 2019)."""

import math

from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl
from torchsid.learners.backprop import Backprop
from torchsid.settings import NotNegative, Weight, checked

LOG_ZERO = math.log(1e-4)  # what `log 0` counts, as in the authors' code, which raises the target to 1e-4 at least


class SCE(Backprop):
    """Trains a network end to end on the cross-entropy and the reverse cross-entropy.

        L = α·CE + β·RCE,     RCE = −Σ_c p_c log t_c,   log t_c at least LOG_ZERO

    For a one-hot target RCE is `−LOG_ZERO · (1 − p_y)`: the mean absolute error up to a factor.

    Source: Y. Wang et al., arXiv 1908.06112, ICCV 2019.

    Args:
        alpha: Weight α of the cross-entropy; 6 for CIFAR-100 in the paper.
        beta: Weight β of the reverse cross-entropy; 0.1 for CIFAR-100 in the paper. 0 leaves `α·CE`.
    """

    @checked
    def __init__(
        self, module: nn.Module, *, alpha: NotNegative = 0.1, beta: NotNegative = 1.0, label_smoothing: Weight = 0.0
    ) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.alpha, self.beta = alpha, beta

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss at every position, `[B, ...]`."""
        reverse = -(log_belief.exp() * log_target.clamp(min=LOG_ZERO)).sum(-1)
        return self.alpha * forward_kl(log_belief, log_target) + self.beta * reverse
