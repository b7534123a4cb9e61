"""The algorithm written out as the paper states it (arXiv 2510.03273, algorithm 1), sharing no code with the package."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchsid import SharedCascade

Piece = Callable[[Tensor], Tensor]


def algorithm_1(
    cascade: SharedCascade,
    x: Tensor,
    p_y: Tensor,
    *,
    alphas: Sequence[float],
    direction: str = "forward",
    temperature: float = 1.0,
    scales: Sequence[float] | None = None,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fill `.grad` by one backward pass over the sum of all local losses; return losses `[L]` and beliefs `[L+1, B, ..., C]`.

    Args:
        cascade: shared; its stages may make features of their own.
        x: the batch.
        p_y: target probabilities `[B, ..., C]`, smoothed already.
        alphas: α of each stage.
        direction: `"forward"` or `"reverse"`.
        temperature: of the previous belief as a teacher.
        scales: multiply the losses that are differentiated; 1 by default.
        weight: of each position.
    """
    random = torch.get_rng_state()
    with torch.no_grad():  # phase 1: teacher beliefs, from a copy, so that running statistics count once
        teacher = copy.deepcopy(cascade)
        features, p = teacher.extractor(x), cascade.log_prior.softmax(-1).expand_as(p_y)
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
        losses.append(local_loss(logits, p_y, previous, alpha, direction, temperature, weight))
    scaled = [loss * scale for loss, scale in zip(losses, scales or [1.0] * len(losses), strict=True)]
    if any(loss.requires_grad for loss in scaled):
        torch.autograd.backward(torch.stack(scaled).sum())
    return torch.stack(losses).detach(), torch.stack(beliefs)


def staged_losses(
    pieces: Sequence[Piece],
    heads: Sequence[nn.Module],
    x: Tensor,
    p_y: Tensor,
    *,
    alphas: Sequence[float],
    direction: str = "forward",
    temperature: float = 1.0,
    scales: Sequence[float] | None = None,
    weight: Tensor | None = None,
    detach: bool = True,
) -> tuple[Tensor, Tensor]:
    """Fill `.grad` of the pieces of a trunk and of their heads, stage by stage; return as `algorithm_1`.

    With `detach=False` the pieces stay connected: deep supervision, by one backward pass.
    """
    h, belief = x, torch.full_like(p_y, 1 / p_y.shape[-1])
    losses, beliefs, total = [], [belief], torch.zeros((), dtype=p_y.dtype)
    for piece, head, alpha, scale in zip(pieces, heads, alphas, scales or [1.0] * len(pieces), strict=True):
        h = piece(h)
        logits = head(h, belief.log())
        loss = local_loss(logits, p_y, belief, alpha, direction, temperature, weight)
        if detach:
            (scale * loss).backward()
            h = h.detach()
        total = total + scale * loss
        belief = logits.detach().softmax(-1)
        losses.append(loss.detach())
        beliefs.append(belief)
    if not detach:
        total.backward()
    return torch.stack(losses), torch.stack(beliefs)


def windowed_losses(
    pieces: Sequence[Piece], heads: Sequence[nn.Module], x: Tensor, p_y: Tensor, *, window: int, alphas: Sequence[float]
) -> None:
    """Fill `.grad` the plain way: for each loss a fresh forward pass through its last `window` stages, from detached features."""
    features, beliefs = [x], [torch.full_like(p_y, 1 / p_y.shape[-1])]
    with torch.no_grad():
        for piece, head in zip(pieces, heads, strict=True):
            features.append(piece(features[-1]))
            beliefs.append(head(features[-1], beliefs[-1].log()).softmax(-1))
    for i, alpha in enumerate(alphas):
        first = max(i - window + 1, 0)
        h = features[first]
        for piece in pieces[first : i + 1]:
            h = piece(h)
        local_loss(heads[i](h, beliefs[i].log()), p_y, beliefs[i], alpha).backward()


def local_loss(
    logits: Tensor,
    p_y: Tensor,
    previous: Tensor,
    alpha: float,
    direction: str = "forward",
    temperature: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return `α D(p, p_y) + (1−α) D(p, previous)`, the weighted mean over the positions."""
    powers = previous ** (1 / temperature)
    tempered = powers / powers.sum(-1, keepdim=True)
    log_p = logits.log_softmax(-1)
    each = alpha * divergence(log_p, p_y, direction) + (1 - alpha) * divergence(log_p, tempered, direction)
    if weight is None:
        return each.mean()
    return (weight * each)[weight > 0].sum() / weight.sum()


def divergence(log_p: Tensor, q: Tensor, direction: str) -> Tensor:
    """Return `KL(q ‖ p)` (forward) or `KL(p ‖ q)` (reverse) at each position, `[B, ...]`."""
    if direction == "forward":
        return F.kl_div(log_p, q, reduction="none").sum(-1)
    return F.kl_div(q.log(), log_p, reduction="none", log_target=True).sum(-1)


def smoothed(target: Tensor, num_classes: int, label_smoothing: float = 0.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return classes `[B, ...]` or rows `[B, ..., C]` as the probabilities `(1−ε)·p_y + ε/C`; negative classes as class 0."""
    p_y = target if target.is_floating_point() else F.one_hot(target.clamp(min=0), num_classes)
    return (1 - label_smoothing) * p_y.to(dtype) + label_smoothing / num_classes
