"""Environments in which an agent acts, with a belief about the return of each action. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.control.task import Control as Control

__getattr__, __dir__, __all__ = lazy_names(__name__)
