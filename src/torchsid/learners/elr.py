"""Early-learning regularisation (S. Liu et al., arXiv 2007.00151, NeurIPS 2020)."""

from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl
from torchsid.learners.backprop import Backprop
from torchsid.learners.predictions import PredictionMemory
from torchsid.learners.robust import clipped, early_learning_regularized


class ELR(Backprop):
    """Backpropagation that holds on to what the network said of each sample before.

        L = CE + λ log(1 − ⟨p̄, p⟩),     p̄ ← β p̄ + (1 − β) p     at every visit of the sample, from p̄ = 0

    Args:
        module: a `Cascade` or a network that returns logits.
        memory: holds `p̄`. Steps that do not say which samples they see leave it alone and are trained on CE.
        strength: λ; 7 for CIFAR-100 in the paper.
        beta: β; 0.9 for CIFAR-100.
        label_smoothing: ε; the target becomes `(1−ε)·p_y + ε/C`.
    """

    remembers_samples = True

    def __init__(
        self,
        module: nn.Module,
        *,
        memory: PredictionMemory | None = None,
        strength: float = 3.0,
        beta: float = 0.7,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.memory = memory
        self.strength = strength
        self.beta = beta

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return ELR's loss of each sample, `[B]`, and bring its `p̄` up to date, this step's belief included."""
        if self.memory is None or samples is None:
            return forward_kl(log_belief, log_target)
        before, _ = self.memory.recall(samples)
        belief = clipped(log_belief.detach().exp())
        ensemble = self.beta * before.to(belief) + (1 - self.beta) * belief / belief.sum(-1, keepdim=True)
        self.memory.remember(samples, ensemble)
        return early_learning_regularized(log_belief, log_target, ensemble, strength=self.strength)
