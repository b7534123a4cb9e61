"""The procedure of the authors' public code, as a yardstick: two forward passes, one summed loss, one backward over all graphs."""

import torch
from torch import Tensor

from torchsid.core.beliefs import to_log_belief
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade


class Reference:
    """Trains a shared cascade as the reference code does. Its gradients are those of the schedules, to which the tests hold it.

    Args:
        cascade: shared.
        objective: of the stages.
    """

    def __init__(self, cascade: SharedCascade, objective: LocalObjective | None = None) -> None:
        self.module = cascade
        self.objective = objective or LocalObjective()

    def backward(self, x: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
        """Fill `.grad` and return the summed loss: teacher pass, second forward with gradients, `Σ_i L_i`, one backward.

        It holds every stage's graph at once. The loss that is differentiated is multiplied by `scale`.
        """
        cascade = self.module
        with torch.no_grad():
            teachers = cascade.log_beliefs(x)[:-1]
        log_target = self.objective.log_target(target, cascade.num_classes, dtype=teachers.dtype)
        z = cascade.extractor(x)
        total = z.new_zeros(())
        for stage, teacher, alpha in zip(cascade.stages, teachers, self.objective.alphas(cascade.depth), strict=True):
            _, logits = stage(z, teacher)
            total = total + self.objective(to_log_belief(logits), log_target, teacher, alpha).mean()
        (scale * total).backward()
        loss: Tensor = total.detach()
        return loss
