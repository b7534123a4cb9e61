"""Public names of a package that are loaded on first use (PEP 562), so that importing the package costs nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package's `__init__`.

    Args:
        package: its dotted name.
        home: where each public name lives, as `module:name`, as `module` if the name is the same or is a module itself,
            or as `module:` if it stands for a module of another name.
    """

    def get(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, colon, symbol = home[name].partition(":")
        loaded = import_module(module)
        return loaded if module == f"{package}.{name}" or (colon and not symbol) else getattr(loaded, symbol or name)

    return get, lambda: sorted({*home, *vars(sys.modules[package])})
