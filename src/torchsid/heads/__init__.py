"""Belief heads: how a stage turns its features and the previous belief into logits, `head(features, log_belief) -> logits`.

`names` and `HEADS.descriptions` need no torch; `create` builds the module. The public classes are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names
from torchsid.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from torchsid.core.cascade import Positions
    from torchsid.core.mlp_head import HeadKind as HeadKind
    from torchsid.core.mlp_head import MLPHead as MLPHead
    from torchsid.heads.belief import BeliefHead as BeliefHead

HEADS = Registry("torchsid.heads", "head", suffix="body")

names = HEADS.names


def create(
    kind: str,
    features: Tensor,
    num_classes: int,
    *,
    residual: bool = True,
    later: Iterable[nn.Module] = (),
    budget: int | None = None,
    positions: Positions = (),
) -> nn.Module:
    """Build a head that maps a stage's features and the previous belief `[B, ..., C]` to logits of its shape.

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
        positions: where a sample's beliefs are: one (`()`), M of them from the same vector (`(M,)`), or one at each token
            (`"tokens"`).

    Raises:
        HeadError: the head cannot read such features, or does not fit the budget.
        ConfigError: the kind is unknown.
    """
    from torchsid.heads.build import build

    return build(kind, features, num_classes, residual=residual, later=later, budget=budget, positions=positions)


__getattr__, __dir__, _LAZY = lazy_names(__name__)
__all__ = ["HEADS", "create", "names", *_LAZY]
