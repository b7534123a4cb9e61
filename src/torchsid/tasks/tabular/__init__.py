"""Rows of tables, of which one column is to be foreseen: a class or a number. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.tabular.task import Tabular as Tabular

__getattr__, __dir__, __all__ = lazy_names(__name__)
