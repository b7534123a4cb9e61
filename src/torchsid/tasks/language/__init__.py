"""Language: what comes next, at every position of a text. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.language.task import Language as Language

__getattr__, __dir__, __all__ = lazy_names(__name__)
