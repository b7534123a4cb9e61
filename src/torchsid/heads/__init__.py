"""Belief heads: how a stage turns its features and the previous belief into logits, `head(features, log_belief) -> logits`.

`names` and `HEADS.descriptions` need no torch. The other public names are loaded on first use.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names
from torchsid.registry import Registry

if TYPE_CHECKING:
    from torchsid.core.shared import HeadKind as HeadKind
    from torchsid.core.shared import MLPHead as MLPHead
    from torchsid.heads.belief import BeliefHead as BeliefHead
    from torchsid.heads.belief import create as create

HEADS = Registry("torchsid.heads", "head", suffix="body")

names = HEADS.names

__getattr__, __dir__, _LAZY = lazy_names(__name__)
__all__ = ["HEADS", "names", *_LAZY]
