"""Texts, each of one class. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.text.task import Text as Text

__getattr__, __dir__, __all__ = lazy_names(__name__)
