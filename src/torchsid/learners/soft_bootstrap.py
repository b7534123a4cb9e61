"""Backpropagation on labels mixed with the network's own belief (Reed et al. 2014)."""

from torch import Tensor, nn

from torchsid.core.beliefs import entropy, forward_kl
from torchsid.learners.backprop import Backprop
from torchsid.settings import Weight, checked


class SoftBootstrap(Backprop):
    """Trains a network end to end on targets that include its own belief.

        L = −Σ_c [β t_c + (1−β) p_c] log p_c = β·CE + (1−β)·H(p)

    The gradient passes through the belief in the target too, so that the second term is minimum-entropy regularisation.

    Source: S. Reed et al., arXiv 1412.6596, ICLR workshop 2015.

    Args:
        beta: Weight β of the label; the rest is the network's own belief. 1 is the cross-entropy.
    """

    @checked
    def __init__(self, module: nn.Module, *, beta: Weight = 0.95, label_smoothing: Weight = 0.0) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.beta = beta

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss at every position, `[B, ...]`."""
        return self.beta * forward_kl(log_belief, log_target) + (1 - self.beta) * entropy(log_belief)
