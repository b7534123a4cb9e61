"""Packages that only some parts of the house need, and the extra of torchsid that brings each."""

from importlib import import_module
from types import ModuleType

from torchsid.errors import MissingPackageError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of such a package.

    Raises:
        MissingPackageError: it is not installed; names the extra of torchsid that brings it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(module, extra=extra, purpose=purpose) from error


def missing(module: str, *, extra: str, purpose: str) -> MissingPackageError:
    """Return the error for a module that cannot be imported."""
    package = module.partition(".")[0]
    return MissingPackageError(f"{purpose} needs the package {package!r}: pip install 'torchsid[{extra}]'", name=package)
