"""Backpropagation with early-learning regularisation (Liu et al. 2020)."""

from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl
from torchsid.learners.predictions import RememberingBackprop
from torchsid.settings import NotNegative, Share, Weight, checked

EDGE = 1e-4  # probabilities are kept this far from 0 and 1, as the authors' code does, so that the logarithm stays finite


class ELR(RememberingBackprop):
    """Trains a network end to end and keeps it close to its earlier answers, from before wrong labels were memorised.

        L = CE + λ log(1 − ⟨p̄, p⟩),     p̄ ← β p̄ + (1 − β) p     at every visit of the sample, from p̄ = 0

    Steps that do not name their samples leave `p̄` unchanged and are trained on the cross-entropy. The loss may be negative.

    Source: S. Liu et al., arXiv 2007.00151, NeurIPS 2020.

    Args:
        strength: Strength λ of the regularisation; 7 for CIFAR-100 in the paper.
        beta: How much β of a sample's average prediction is kept at every visit; 0.9 for CIFAR-100 in the paper.
    """

    @checked
    def __init__(self, module: nn.Module, *, strength: NotNegative = 3.0, beta: Share = 0.7, label_smoothing: Weight = 0.0) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.strength, self.beta = strength, beta

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss at every position, `[B, ...]`, and bring `p̄` up to date, this step's belief included."""
        cross_entropy = forward_kl(log_belief, log_target)
        if self.predictions is None or samples is None:
            return cross_entropy
        before, _ = self.recall(samples)
        belief = log_belief.exp().clamp(EDGE, 1 - EDGE)
        seen = belief.detach()
        ensemble = self.beta * before.to(seen) + (1 - self.beta) * seen / seen.sum(-1, keepdim=True)
        self.remember(samples, ensemble)
        agreement = (ensemble * belief).sum(-1)
        return cross_entropy + self.strength * (-agreement).log1p()
