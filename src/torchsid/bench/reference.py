"""The procedure of the authors' public code, as a yardstick: two forward passes, one summed loss, one backward over all graphs."""

import torch
from torch import Tensor

from torchsid.core.beliefs import to_log_belief
from torchsid.core.objective import LocalObjective
from torchsid.core.shared import SharedCascade


def reference_backward(cascade: SharedCascade, objective: LocalObjective, x: Tensor, log_target: Tensor) -> Tensor:
    """Fill `.grad` as the reference code does and return the summed loss.

    Teacher pass; second forward with gradients; `Σ_i L_i`; one backward. It holds every stage's graph at once. The gradients equal
    those of the schedules, to which the tests hold it.
    """
    with torch.no_grad():
        teachers = cascade.log_beliefs(x)[:-1]
    z = cascade.extractor(x)
    total = z.new_zeros(())
    for stage, teacher, alpha in zip(cascade.stages, teachers, objective.alphas(cascade.depth), strict=True):
        _, logits = stage(z, teacher)
        total = total + objective(to_log_belief(logits), log_target, teacher, alpha).mean()
    total.backward()
    loss: Tensor = total.detach()
    return loss
