"""Backpropagation on labels mixed with predictions of one epoch before (PS-KD, Kim et al. 2021)."""

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import arithmetic_mixture, forward_kl
from torchsid.learners.predictions import RememberingBackprop
from torchsid.settings import Weight, checked


class SelfDistillation(RememberingBackprop):
    """Trains a network end to end on targets that its own predictions of the previous epoch soften, more and more.

        target of epoch t = (1 − α_t) p_y + α_t p^{(t−1)},     α_t = α_T · t / T

    The first epoch has no predictions to learn from: its target is `p_y`. So is that of steps that do not name their samples;
    they leave the predictions unchanged.

    Source: K. Kim et al., arXiv 2006.12000, ICCV 2021.

    Args:
        alpha: Weight α_T, in the last epoch, of the network's prediction one epoch before; it rises linearly from 0.
    """

    @checked
    def __init__(self, module: nn.Module, *, alpha: Weight = 0.8, label_smoothing: Weight = 0.0) -> None:
        super().__init__(module, label_smoothing=label_smoothing)
        self.alpha = alpha

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return `KL(target ‖ p)` at every position, `[B, ...]`, and remember the predictions."""
        if self.predictions is None or samples is None:
            return forward_kl(log_belief, log_target)
        previous, visits = self.recall(samples)
        share = self.alpha * ((visits.to(log_belief) + 1) / self.epochs).clamp(max=1.0)
        share = torch.where(visits > 0, share, 0.0).view(-1, *(1,) * (log_belief.dim() - 1))
        self.remember(samples, log_belief.detach().exp())
        return forward_kl(log_belief, arithmetic_mixture(previous.to(log_belief).log(), log_target, share))
