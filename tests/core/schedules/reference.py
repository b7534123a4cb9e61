"""The algorithm written out as the paper states it (arXiv 2510.03273, algorithm 1), sharing no code with the schedules."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from torchsid import Cascade


def algorithm_1(
    cascade: Cascade,
    x: Tensor,
    p_y: Tensor,
    *,
    alphas: Sequence[float],
    direction: str,
    temperature: float = 1.0,
    weights: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Fill `.grad` by one backward pass over the sum of all local losses; return losses `[L]` and beliefs `[L+1, B, C]`.

    Args:
        cascade: shared or staged.
        x: the batch.
        p_y: target probabilities `[B, C]`, smoothed already.
        alphas: α of each stage.
        direction: `"forward"` or `"reverse"`.
        temperature: of the previous belief as a teacher.
        weights: multiply the losses that are differentiated; 1 by default.
    """
    random = torch.get_rng_state()
    with torch.no_grad():  # phase 1: teacher beliefs, from a copy, so that running statistics count once
        teacher = copy.deepcopy(cascade)
        features, p = teacher.extractor(x), cascade.log_prior.softmax(-1).expand(len(x), -1)
        beliefs = [p]
        for stage in teacher.stages:
            features, logits = stage(features, beliefs[-1].log())
            beliefs.append(logits.softmax(-1))
    torch.set_rng_state(random)

    features = cascade.extractor(x)  # phase 2
    losses = []
    for stage, previous, alpha in zip(cascade.stages, beliefs[:-1], alphas, strict=True):
        made, logits = stage(features, previous.log())
        features = features if made is features else made.detach()  # a stage of a cut trunk hands on detached features
        log_p = logits.log_softmax(-1)
        to_teacher = divergence(log_p, tempered(previous, temperature), direction)
        losses.append(alpha * divergence(log_p, p_y, direction) + (1 - alpha) * to_teacher)
    weighted = [loss * weight for loss, weight in zip(losses, weights or [1.0] * len(losses), strict=True)]
    if any(loss.requires_grad for loss in weighted):
        torch.autograd.backward(torch.stack(weighted).sum())
    return torch.stack(losses).detach(), torch.stack(beliefs)


def divergence(log_p: Tensor, q: Tensor, direction: str) -> Tensor:
    """Return the mean over the batch of `KL(q ‖ p)` (forward) or `KL(p ‖ q)` (reverse)."""
    if direction == "forward":
        return F.kl_div(log_p, q, reduction="batchmean")
    return F.kl_div(q.log(), log_p, reduction="batchmean", log_target=True)


def tempered(p: Tensor, temperature: float) -> Tensor:
    """Return `p^{1/T} / Z`, `[B, C]`."""
    powers = p ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


def smoothed(target: Tensor, num_classes: int, label_smoothing: float, dtype: torch.dtype) -> Tensor:
    """Return classes `[B]` or rows `[B, C]` as the probabilities `(1−ε)·p_y + ε/C`, `[B, C]`."""
    p_y = target if target.is_floating_point() else F.one_hot(target, num_classes)
    return (1 - label_smoothing) * p_y.to(dtype) + label_smoothing / num_classes
