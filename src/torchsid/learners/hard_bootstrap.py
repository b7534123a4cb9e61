"""Backpropagation on labels mixed with the network's own answer (Reed et al. 2014)."""

from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl
from torchsid.learners.backprop import Backprop
from torchsid.settings import Weight, checked


class HardBootstrap(Backprop):
    """Trains a network end to end on targets that include its own answer `z`, one-hot and constant.

        L = −Σ_c [β t_c + (1−β) z_c] log p_c = β·CE − (1−β)·log max_c p_c

    Source: S. Reed et al., arXiv 1412.6596, ICLR workshop 2015.

    Args:
        beta: Weight β of the label; the rest is the network's own answer. 1 is the cross-entropy.
    """

    @checked
    def __init__(self, module: nn.Module, *, beta: Weight = 0.8, label_smoothing: Weight = 0.0) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.beta = beta

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss at every position, `[B, ...]`."""
        return self.beta * forward_kl(log_belief, log_target) - (1 - self.beta) * log_belief.max(-1).values
