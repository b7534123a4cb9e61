"""Belief heads: how a stage turns its features and the previous belief into logits, `head(features, log_belief) -> logits`.

`DESCRIPTIONS` and `names` need no torch; `create` builds the module. The public classes are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchsid.errors import unknown_name
from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from torchsid.heads.belief import BeliefHead as BeliefHead
    from torchsid.heads.mlp import HeadKind as HeadKind
    from torchsid.heads.mlp import MLPHead as MLPHead

__all__ = ["DESCRIPTIONS", "BeliefHead", "HeadKind", "MLPHead", "create", "names"]

DESCRIPTIONS = {
    "linear": "pool to a vector, linear; vectors, tokens, maps",
    "mlp": "pool to a vector, the paper's hidden layer, linear; vectors, tokens, maps",
    "conv": "pool to 8x8 at most, 3x3 convolution, global average, linear; maps",
    "pyramid": "3x3 convolutions with stride 2 down to 4x4, linear; maps",
    "attention": "one learned query over the positions, LayerNorm, linear; tokens, maps",
    "trunk": "fresh copies of the trunk's later layers that change the shape, pool, linear; vectors, tokens, maps",
}
_HOME = {
    "BeliefHead": "torchsid.heads.belief",
    "HeadKind": "torchsid.heads.mlp",
    "MLPHead": "torchsid.heads.mlp",
}


def names() -> tuple[str, ...]:
    """Return the names of the heads."""
    return tuple(DESCRIPTIONS)


def create(
    kind: str,
    features: Tensor,
    num_classes: int,
    *,
    residual: bool = True,
    later: Iterable[nn.Module] = (),
    budget: int | None = None,
) -> nn.Module:
    """Build a head that maps a stage's features and the previous belief `[B, C]` to logits `[B, C]`.

    As every new module, it is made on the default device, in the default dtype and in training mode.

    Args:
        kind: one of `names()`.
        features: an example of the stage's features: maps `[B, C, H, W]`, tokens `[B, T, D]` or vectors `[B, D]`. Only its
            shape counts, so a tensor on the meta device will do.
        num_classes: C.
        residual: add the head's correction to the previous log-belief and start with none, so that the stage begins as the
            identity on beliefs.
        later: the trunk's modules after this stage, in order. Read by `trunk` alone.
        budget: the most multiply-adds a sample that a forward pass of the head may take. `conv`, `attention` and `trunk` pool
            maps by the smallest of 1, 2, 4, 8, ... that fits, no further than to 2x2.

    Raises:
        HeadError: the head cannot read such features, or does not fit the budget.
        ValueError: the kind is unknown.
    """
    if kind not in DESCRIPTIONS:
        raise ValueError(unknown_name("head", kind, DESCRIPTIONS))
    from torchsid.heads.build import build

    return build(kind, features, num_classes, residual=residual, later=later, budget=budget)


__getattr__, __dir__ = lazy_names(__name__, _HOME)
