"""What each position counts: weights as they are given, targets that are ignored, weights of classes."""

import torch
from torch import Tensor

from torchsid.core import beliefs
from torchsid.errors import TargetError

IGNORED = -100
"""An integer target that counts nowhere: what `torch.nn.functional.cross_entropy` ignores unless told otherwise."""


def counted(target: Tensor, weight: Tensor | None = None) -> Tensor | None:
    """Return what each position counts, `[B, ...]`: its weight, and 0 where the target is `IGNORED`; None where all count alike.

    Args:
        target: integer outcomes `[B, ...]`, or probability rows `[B, ..., C]` (floating point).
        weight: of each position, `[B, ...]`, 0 or more.

    Raises:
        TargetError: the target is no tensor, or is empty.
        ValueError: the weights are not one a position, or one is negative or not finite.
    """
    if not isinstance(target, Tensor):
        raise TargetError(f"the target is of type {type(target).__name__}: give a tensor, torch.as_tensor(target)")
    if not target.numel():
        raise TargetError(f"the target has shape {list(target.shape)}: a batch without samples has no loss, leave it out")
    if weight is not None:
        weight = _checked(weight, target).detach().to(target.device)
    if target.is_floating_point():
        return weight
    ignored = target.long() == IGNORED  # a comparison in uint8 would take 156 for it
    if beliefs.readable(target) and not bool(ignored.any()):
        return weight
    return ~ignored if weight is None else weight.masked_fill(ignored, 0)


def weigh_classes(target: Tensor, class_weights: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the target and the weight of each position with which a class counts by its weight.

    The cross-entropy `−Σ_c w_c t_c log p_c` is `W · (−Σ_c t′_c log p_c)` with `W = Σ_c w_c t_c` and `t′_c = w_c t_c / W`: for
    integer classes their weight, `t′ = t`, and what `F.cross_entropy(weight=)` has for rows, but for the mean, which is over W.

    Args:
        target: integer outcomes `[B, ...]`, which may be `IGNORED`, or probability rows `[B, ..., C]`.
        class_weights: 0 or more, `[C]`, on the device of the target.
        weight: of each position besides, `[B, ...]`.
    """
    if target.is_floating_point():
        tilted = target * class_weights
        total = tilted.sum(-1)
        target = tilted / total.clamp(min=torch.finfo(total.dtype).tiny).unsqueeze(-1)
    else:
        total = class_weights[target.clamp(min=0).long()]  # an ignored one gets its 0 from `counted`
    return target, total if weight is None else weight * total


def balanced(target: Tensor, num_classes: int) -> Tensor:
    """Return the weights `N / (C · n_c)` with which every class counts the same in all, `[C]`; 0 for one that does not occur.

    The target is that of all samples, integer outcomes `[N, ...]` or probability rows `[N, ..., C]`.
    """
    if target.is_floating_point():
        counts = target.flatten(0, -2).sum(0, dtype=torch.float64)
    else:
        counts = torch.bincount(target[target != IGNORED].flatten(), minlength=num_classes).double()
    return torch.where(counts > 0, counts.sum() / (num_classes * counts), 0.0)


def _checked(weight: Tensor, target: Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        raise ValueError(f"weight is of type {type(weight).__name__}: give a tensor, torch.as_tensor(weight)")
    positions = target.shape[:-1] if target.is_floating_point() else target.shape
    shape, own = list(target.shape), list(weight.shape)
    if weight.shape != positions and weight.shape == target.shape:
        raise TargetError(f"a target of shape {shape} in floating point: a class is an integer, target.long()")
    if weight.shape != positions and weight.shape == target.shape[:-1]:
        what = f"the target has one integer a class, {shape}, and weight one number a position, {own}"
        raise TargetError(f"{what}: rows, one-hot or not, are floating point, target.float()")
    if weight.shape != positions:
        raise ValueError(f"weight has shape {own}: give one number a position, {list(positions)}")
    if beliefs.readable(weight) and not bool((weight >= 0).all() & weight.sum(dtype=torch.float32).isfinite()):
        allowed = "allowed are 0, which counts nothing, and numbers above it with a finite sum"
        raise ValueError(f"weight goes from {weight.min().item():.4g} to {weight.max().item():.4g}: {allowed}")
    return weight
