"""Public names of a package that are loaded on first use (PEP 562), so that importing the package costs nothing.

They stand where type checkers read them, in the `if TYPE_CHECKING:` block of the package's `__init__`, and nowhere else.
"""

import ast
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})


def lazy_names(
    package: str, modules: Mapping[str, str] = _NONE
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__`, and what `__all__` has of lazy names, for a package's `__init__`.

    Public is what its block imports `as` something, and the names in `modules`, which stand for whole modules.
    """
    tree = ast.parse(Path(str(sys.modules[package].__file__)).read_text("utf-8"))
    imports = [node for block in tree.body if isinstance(block, ast.If) for node in block.body if isinstance(node, ast.ImportFrom)]
    home = {alias.asname: (str(node.module), alias.name) for node in imports for alias in node.names if alias.asname}

    def get(name: str) -> object:
        if name in modules:
            return import_module(modules[name])
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, symbol = home[name]
        return getattr(import_module(module), symbol)

    return get, lambda: sorted({*home, *modules, *vars(sys.modules[package])}), sorted(home)
