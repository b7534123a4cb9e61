"""Packages that only some data sets need."""

from importlib import import_module
from types import ModuleType

from torchsid.errors import DataError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of such a package.

    Raises:
        DataError: it is not installed; names the extra of torchsid that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise DataError(f"{purpose} needs the package {package!r}: pip install 'torchsid[{extra}]'") from error
