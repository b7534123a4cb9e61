"""Build a head by kind: check the features, make the body, fit the budget.

A body is a module made from an example of the features. What else it needs it asks for by parameters of its constructor: `later`,
the trunk's modules behind it; `pool`, False to give every token a vector of its own; `factor`, by how much less of a map to read
(maps are pooled for a body that does not ask). It says its vectors' `width`, and may say which ranks of features it `reads`, and
by `max_side` how large the maps may be.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.errors import HeadError
from torchsid.heads import HEADS
from torchsid.heads.belief import BeliefHead
from torchsid.heads.cost import multiply_adds
from torchsid.heads.pool import FORMS, channels, describe

Body = Callable[..., nn.Module]


def build(
    kind: str,
    features: Tensor,
    num_classes: int,
    *,
    residual: bool,
    later: Iterable[nn.Module],
    budget: int | None,
    positions: Positions,
) -> BeliefHead:
    """Build the head; arguments and errors are those of `torchsid.heads.create`."""
    body: Body = HEADS.load(kind)
    if problems := _problems(kind, body, features, num_classes, residual, budget, positions):
        raise HeadError("; ".join(problems))
    example = torch.zeros(1, *features.shape[1:])
    where = example.shape[1:-1] if positions == "tokens" else positions
    log_belief = torch.zeros(1, *where, num_classes)
    needed: dict[int, int] = {}
    state = torch.get_rng_state()
    for factor in _factors(body, example):
        torch.set_rng_state(state)  # a seed gives the weights of the head that is returned, however many were tried
        wishes: dict[str, Any] = {"later": later, "factor": factor, "pool": positions != "tokens"}
        made = body(example, **{name: value for name, value in wishes.items() if _asks_for(body, name)})
        pooled = 1 if _asks_for(body, "factor") else factor
        head = BeliefHead(made, num_classes, residual=residual, factor=pooled, positions=positions)
        if budget is None:
            return head
        try:
            needed[factor] = multiply_adds(head, example, log_belief)
        except Exception:  # copies of the trunk's layers may find small maps too small, and say so in any way
            if not needed:
                raise
            continue
        if needed[factor] <= budget:
            return head
    assert budget is not None
    raise HeadError(_over(kind, example, num_classes, needed, budget))


def _problems(
    kind: str, body: Body, features: Tensor, num_classes: int, residual: bool, budget: int | None, positions: Positions
) -> list[str]:
    found, bodies = [], {name: HEADS.load(name) for name in HEADS.names()}
    readers = ", ".join(name for name, each in bodies.items() if features.dim() in _reads(each))
    if features.dim() not in FORMS:
        found.append(
            f"head {kind!r} cannot read {describe(features)}, nor can another: give vectors [B, D], tokens [B, T, D] or maps "
            "[B, C, H, W]"
        )
    elif features.dim() not in _reads(body):
        found.append(f"head {kind!r} cannot read {describe(features)}: choose from {readers}")
    if not features.is_floating_point():
        found.append(
            f"head {kind!r} cannot read {describe(features)} of {features.dtype}: give floating-point features, which "
            f"{readers or 'all heads'} read"
        )
    if positions == "tokens" and not (features.dim() == 3 and _asks_for(body, "pool")):
        able = ", ".join(name for name, each in bodies.items() if _asks_for(each, "pool"))
        found.append(
            f"head {kind!r} on {describe(features)} cannot answer at each token: give tokens [B, T, D], and choose from {able}"
        )
    if num_classes < 2:
        found.append(f"num_classes={num_classes}: a belief needs 2 classes or more")
    if not isinstance(residual, bool):
        found.append(f"residual={residual!r}: give True or False")
    if budget is not None and budget < 1:
        found.append(f"budget={budget}: give 1 multiply-add a sample or more, or None for no limit")
    return found


def _asks_for(body: Body, name: str) -> bool:
    return name in inspect.signature(body).parameters


def _reads(body: Body) -> tuple[int, ...]:
    """Return the ranks of the features that a body reads."""
    return getattr(body, "reads", tuple(FORMS))


def _factors(body: Body, example: Tensor) -> list[int]:
    """Return by how much smaller a side to try maps, smallest first: powers of two that leave 2x2 or more."""
    factors = [1]
    if example.dim() != 4:
        return factors
    height, width = example.shape[2:]
    while 2 * factors[-1] < min(height, width):
        factors.append(2 * factors[-1])
    max_side = getattr(body, "max_side", max(height, width))
    return [factor for factor in factors if max(height, width) <= max_side * factor] or factors[-1:]


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
