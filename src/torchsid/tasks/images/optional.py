"""Packages that only some data sets need, imported when one of those is read."""

from importlib import import_module
from types import ModuleType

from torchsid.errors import DataError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Raises:
        DataError: it is not installed; names the extra of torchsid that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise DataError(f"{purpose} needs the package {package!r}: pip install 'torchsid[{extra}]'") from error
