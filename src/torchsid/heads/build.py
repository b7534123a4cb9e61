"""Build a head by kind: check the features, make the body, fit the budget."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from torchsid.errors import HeadError
from torchsid.heads.attention import AttentionBody
from torchsid.heads.belief import BeliefHead
from torchsid.heads.conv import MAX_SIDE, ConvBody
from torchsid.heads.cost import multiply_adds
from torchsid.heads.mlp import MLPBody
from torchsid.heads.pool import MeanPool, channels, describe
from torchsid.heads.pyramid import PyramidBody
from torchsid.heads.trunk import TrunkBody

RANKS = {
    "linear": (2, 3, 4),
    "mlp": (2, 3, 4),
    "conv": (4,),
    "pyramid": (4,),
    "attention": (3, 4),
    "trunk": (2, 3, 4),
}  # that a kind reads

Body = MeanPool | MLPBody | ConvBody | PyramidBody | AttentionBody | TrunkBody


def build(
    kind: str, features: Tensor, num_classes: int, *, residual: bool, later: Iterable[nn.Module], budget: int | None
) -> BeliefHead:
    """Build the head; arguments and errors are those of `torchsid.heads.create`."""
    if problems := _problems(kind, features, num_classes, residual, budget):
        raise HeadError("; ".join(problems))
    example = torch.zeros(1, *features.shape[1:])
    needed: dict[int, int] = {}
    state = torch.get_rng_state()
    for factor in _factors(kind, example):
        torch.set_rng_state(state)  # a seed gives the weights of the head that is returned, however many were tried
        head = _head(kind, example, num_classes, residual, later, factor)
        if budget is None:
            return head
        try:
            needed[factor] = multiply_adds(head, example, torch.zeros(1, num_classes))
        except Exception:  # copies of the trunk's layers may find small maps too small, and say so in any way
            if not needed:
                raise
            continue
        if needed[factor] <= budget:
            return head
    assert budget is not None
    raise HeadError(_over(kind, example, num_classes, needed, budget))


def _problems(kind: str, features: Tensor, num_classes: int, residual: bool, budget: int | None) -> list[str]:
    found, rank = [], features.dim()
    readers = sorted(name for name, ranks in RANKS.items() if rank in ranks)
    if not readers:
        found.append(
            f"head {kind!r} cannot read {describe(features)}, nor can another: give vectors [B, D], tokens [B, T, D] or maps "
            "[B, C, H, W]"
        )
    elif kind not in readers:
        found.append(f"head {kind!r} cannot read {describe(features)}: choose from {', '.join(readers)}")
    if not features.is_floating_point():
        found.append(
            f"head {kind!r} cannot read {describe(features)} of {features.dtype}: give floating-point features, which "
            f"{', '.join(readers) or 'all heads'} read"
        )
    if num_classes < 2:
        found.append(f"num_classes={num_classes}: a belief needs 2 classes or more")
    if not isinstance(residual, bool):
        found.append(f"residual={residual!r}: give True or False")
    if budget is not None and budget < 1:
        found.append(f"budget={budget}: give 1 multiply-add a sample or more, or None for no limit")
    return found


def _head(kind: str, example: Tensor, num_classes: int, residual: bool, later: Iterable[nn.Module], factor: int) -> BeliefHead:
    """Return the head that works on maps `factor` times smaller a side: pooled first, or read with larger strides."""
    bodies: dict[str, Callable[[int], Body]] = {"linear": MeanPool, "mlp": MLPBody, "conv": ConvBody, "attention": AttentionBody}
    body: Body
    if kind == "pyramid":
        body, factor = PyramidBody(channels(example), min(example.shape[2:]), stride=2 * factor), 1
    elif kind == "trunk":
        body = TrunkBody(example, later)
    else:
        body = bodies[kind](channels(example))
    return BeliefHead(body, body.width, num_classes, residual=residual, factor=factor)


def _factors(kind: str, example: Tensor) -> list[int]:
    """Return the pooling factors to try, smallest first: powers of two that leave 2x2 or more."""
    factors = [1]
    if example.dim() != 4 or kind in ("linear", "mlp"):  # they pool to a vector anyway
        return factors
    height, width = example.shape[2:]
    while 2 * factors[-1] < min(height, width):
        factors.append(2 * factors[-1])
    if kind == "conv":
        return [factor for factor in factors if max(height, width) <= MAX_SIDE * factor] or factors[-1:]
    return factors


def _over(kind: str, example: Tensor, num_classes: int, needed: dict[int, int], budget: int) -> str:
    """Return what to say of a head that is over its budget at every factor."""
    cheapest = min(needed, key=needed.__getitem__)
    pooled = f" with maps read {cheapest} times smaller" if cheapest > 1 else ""
    linear = (channels(example) + num_classes) * num_classes
    cheaper = f", choose a cheaper head (linear takes {linear:,})" if kind != "linear" else ""
    return (
        f"head {kind!r} on {describe(example)} takes {needed[cheapest]:,} multiply-adds a sample{pooled}, over the budget of "
        f"{budget:,}: raise budget{cheaper}, or cut the trunk where it has fewer channels"
    )
