"""Images with a text beside each. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.pair.task import Pair as Pair

__getattr__, __dir__, __all__ = lazy_names(__name__)
