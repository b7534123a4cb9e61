"""Self-distillation by the previous epoch: PS-KD (K. Kim et al., arXiv 2006.12000, ICCV 2021)."""

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import arithmetic_mixture, forward_kl
from torchsid.learners.backprop import Backprop
from torchsid.learners.predictions import PredictionMemory


class SelfDistillation(Backprop):
    """Backpropagation on targets that the network's own predictions of one epoch before soften, more and more.

        target of epoch t = (1 − α_t) p_y + α_t p^{(t−1)},     α_t = α_T · t / T

    The first epoch has no predictions to learn from: its target is `p_y`.

    Args:
        module: a `Cascade` or a network that returns logits.
        epochs: T.
        memory: holds `p^{(t−1)}`. Steps that do not say which samples they see leave it alone and learn from `p_y`.
        alpha: α_T, the share of the network's own prediction at the end.
        label_smoothing: ε; the label becomes `(1−ε)·p_y + ε/C`.
    """

    remembers_samples = True

    def __init__(
        self,
        module: nn.Module,
        *,
        epochs: int,
        memory: PredictionMemory | None = None,
        alpha: float = 0.8,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.epochs = epochs
        self.memory = memory
        self.alpha = alpha

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return `KL(target ‖ p)` of each sample, `[B]`, and remember its prediction."""
        if self.memory is None or samples is None:
            return forward_kl(log_belief, log_target)
        previous, visits = self.memory.recall(samples)
        share = self.alpha * ((visits.to(log_belief) + 1) / self.epochs).clamp(max=1.0)
        share = torch.where(visits > 0, share, 0.0).unsqueeze(-1)
        self.memory.remember(samples, log_belief.detach().exp())
        return forward_kl(log_belief, arithmetic_mixture(previous.to(log_belief).log(), log_target, share))
