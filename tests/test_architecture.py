"""The rules of the house that a machine can check: docs/design.md, CONTRIBUTING.md."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "torchsid"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300
FOUNDATION = {"errors", "lazy", "__about__"}  # import nothing of the package; every unit may use them
PICKLES = {"pickle", "_pickle", "cPickle", "pickle5", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RESTRICTED_READER = PACKAGE / "data" / "cifar.py"  # CIFAR's own files are pickles; nothing but arrays is let through


def layers() -> list[list[str]]:
    """The import order, top first, as docs/design.md states it."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"Imports run one way only.*?```\n(.*?)```", text, flags=re.DOTALL)
    return [line.split() for line in block.splitlines()]


RANK = {unit: rank for rank, units in enumerate(reversed(layers())) for unit in units}


def unit_of(path: Path) -> str:
    """The folder or file of the package that a module belongs to: `training` for training/loop.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a module imports, in functions and by name as well.

    A string that spells a module of the package counts: that is how registries and lazy attributes import.
    """
    package = ["torchsid", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if source is None else source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Constant) and re.fullmatch(r"torchsid(\.\w+)+(:\w+)?", str(node.value)):
            yield node.lineno, str(node.value).replace(":", ".")


def wrong_direction(path: Path, source: str | None = None) -> list[str]:
    """The imports of a module that do not run down the layers."""
    here = unit_of(path)
    found = []
    for line, name in imported(path, source):
        parts = name.split(".")
        if parts[0] != "torchsid" or parts[1:] == ["__version__"]:
            continue
        there = parts[1] if len(parts) > 1 else ""
        if there != here and there not in FOUNDATION and not RANK.get(there, len(RANK)) < RANK[here]:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_every_unit_has_a_layer() -> None:
    units = {unit_of(path) for path in MODULES} - {"__init__", "__main__", "__about__"}
    assert units <= set(RANK), "name the new unit in the import order of docs/design.md"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down_the_layers(path: Path) -> None:
    if unit_of(path) not in {"__init__", "__main__"}:
        assert wrong_direction(path) == []


@pytest.mark.parametrize(
    "source",
    [
        "import torchsid.training",
        "from torchsid import training",
        "from torchsid.data import load",
        "from ..training import loop",
        "def f():\n    from torchsid.cli import main",
        "HOME = {'x': 'torchsid.report.page:render'}",
        "from torchsid.schedules.two_phase import step\nimport torchsid.learners",
    ],
)
def test_the_check_finds_imports_that_run_up(source: str) -> None:
    assert len(wrong_direction(PACKAGE / "schedules" / "two_phase.py", source)) == 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_distributed_talks_to_other_processes(path: Path) -> None:
    if unit_of(path) != "distributed":
        assert [name for _, name in imported(path) if name.startswith("torch.distributed")] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle(path: Path) -> None:
    names = [name for _, name in imported(path)]
    if path != RESTRICTED_READER:
        assert [name for name in names if name.split(".")[0] in PICKLES] == []
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not {"torch.load", "torch.save"} & {*calls, *names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported_by(arguments) & {"torch", "numpy", "pydantic", "rich"}


def test_listing_does_not_import_torch() -> None:
    assert "torch" not in imported_by(["list"])


def imported_by(arguments: list[str]) -> set[str]:
    """The modules that a `torchsid` command imports, as the interpreter reports them."""
    command = [sys.executable, "-X", "importtime", "-m", "torchsid", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    modules = set(re.findall(r"^import time:.*\| +(\S+)$", result.stderr, flags=re.MULTILINE))
    assert "torchsid.cli.main" in modules
    return modules
