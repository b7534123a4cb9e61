"""A folder is a registry: a file is an entry, the file's name is the entry's name, its first docstring line describes it.

`learners/self_distillation.py` with a class `SelfDistillation` is the learner `self-distillation`; an entry of several files is a
folder, whose main file bears the name of the kind, as `tasks/images/task.py`. An entry may also come from outside the package, as
`"package.module:Object"`, or be one of a family, `"FAMILY:NAME"`. Names and descriptions are read without importing anything.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from torchsid.errors import ConfigError, did_you_mean, unknown_name


@dataclass(frozen=True)
class Registry:
    """The entries of one folder."""

    package: str
    """The folder, dotted, such as `"torchsid.learners"`."""
    kind: str
    """What an entry is called in messages, and the main file of an entry that is a folder."""
    suffix: str = ""
    """What the name of the object ends in, after that of its file: `ConvBody` in `conv.py`."""
    having: str = ""
    """The attribute by which the class of an entry is told from others that are called after their files; empty takes all."""
    families: tuple[str, ...] = ()
    """Functions, with their modules, each of which makes further entries; in a setting they stand behind the function's name."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the folder's entries, in alphabetical order."""
        return tuple(self._entries)

    def descriptions(self) -> dict[str, str]:
        """Return name and one-line description of every entry, without importing it."""
        return {name: entry.documentation.partition("\n")[0].rstrip(".") for name, entry in self._entries.items()}

    def attributes(self, *names: str) -> dict[str, tuple[Any, ...]]:
        """Return what class attributes of every entry hold, its own or inherited ones, as its file says, without importing it."""
        return {
            entry: tuple(_attribute(f"{self.package}.{found.module}", found.symbol, name) for name in names)
            for entry, found in self._entries.items()
        }

    def forms(self) -> list[str]:
        """Return what else than one of `names()` names an entry."""
        return [*(f"{family.partition(':')[2]}:NAME" for family in self.families), "package.module:Object"]

    def load(self, name: str) -> Callable[..., Any]:
        """Return the class or function of an entry: one of `names()`, or `"package.module:Object"` for one from outside.

        Raises:
            ConfigError: there is no such entry, or it cannot be imported.
        """
        first, _, rest = name.partition(":")
        for family in self.families:
            if first == family.partition(":")[2]:
                made: Callable[..., Any] = resolve_name(family)(rest)
                return made
        if ":" in name:
            return self._from_outside(name)
        if name not in self._entries:
            message = unknown_name(self.kind, name, self.names())
            raise ConfigError([f"{message}; one of your own is 'package.module:Object'"], source="name")
        entry = self._entries[name]
        loaded: Callable[..., Any] = getattr(import_module(f"{self.package}.{entry.module}"), entry.symbol)
        return loaded

    def _from_outside(self, name: str) -> Callable[..., Any]:
        try:
            loaded: Callable[..., Any] = resolve_name(name)
        except (ImportError, ValueError, AttributeError) as error:
            advice = "; install it, or add its folder to PYTHONPATH"
            if isinstance(error, AttributeError):
                advice = did_you_mean(str(error.name), dir(error.obj))
            raise ConfigError([f"{self.kind} {name!r}: {error}{advice}"], source="name") from None
        if not callable(loaded):
            raise ConfigError([f"{self.kind} {name!r} is a {type(loaded).__name__}: name a class or a function"], source="name")
        return loaded

    @cached_property
    def _entries(self) -> dict[str, "_Entry"]:
        folder, found = Path(str(files(self.package))), {}
        for path in sorted([*folder.glob("*.py"), *folder.glob(f"*/{self.kind}.py")]):
            stem = path.stem if path.parent == folder else path.parent.name
            tree = ast.parse(path.read_text("utf-8"))
            wanted = stem.replace("_", "") + self.suffix
            for node in tree.body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name.replace("_", "").lower() == wanted:
                    module = ".".join(path.relative_to(folder).with_suffix("").parts)
                    if self.having and _attribute(f"{self.package}.{module}", node.name, self.having) is None:
                        continue
                    found[stem.replace("_", "-")] = _Entry(module, node.name, ast.get_docstring(tree) or "")
        return found


@dataclass(frozen=True)
class _Entry:
    module: str
    symbol: str
    documentation: str


@cache
def _parsed(module: str) -> ast.Module:
    """Return the text of a module of this package."""
    return ast.parse(Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text("utf-8"))


def _attribute(module: str, symbol: str, name: str) -> Any:
    """Return the literal, or frozenset of one, that a class or a base of it in this package assigns; None where none does."""
    tree = _parsed(module)
    imported = {
        each.asname or each.name: (node.module, each.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("torchsid.")
        for each in node.names
    }
    here = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if symbol not in here:
        return _attribute(*imported[symbol], name) if symbol in imported else None
    for node in here[symbol].body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            if name in map(ast.unparse, targets):
                made = node.value
                if isinstance(made, ast.Call) and ast.unparse(made.func) == "frozenset":
                    return frozenset(*map(ast.literal_eval, made.args))
                return ast.literal_eval(made)
    found = (_attribute(module, ast.unparse(base), name) for base in here[symbol].bases)
    return next((value for value in found if value is not None), None)
