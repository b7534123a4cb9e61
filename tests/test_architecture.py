"""The rules of the house that a machine can check: docs/design.md, CONTRIBUTING.md."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import torchsid

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "torchsid"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
FOUNDATION = {"durable", "errors", "lazy", "packages", "registry", "settings", "__about__", "__init__", "__main__"}  # for all rooms
LAZY = ("torchsid", "torchsid.tasks.images", "torchsid.training")  # packages whose public names are loaded on first use
PICKLES = {"pickle", "_pickle", "cPickle", "pickle5", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def rank() -> dict[str, int]:
    """The height of every room, by the import order that docs/design.md states, lowest first."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"Imports run one way only.*?```\n(.*?)```", text, flags=re.DOTALL)
    return {room: height for height, line in enumerate(reversed(block.splitlines())) for room in line.split()}


def room_of(path: Path) -> str:
    """The folder or file of the package that a module belongs to: `training` for training/loop.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Full dotted name of everything a module imports, in functions and by name as well.

    A string that spells a module of the package counts: that is how lazy attributes import.
    """
    package = ["torchsid", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"torchsid(\.\w+)+(:\w+)?", str(node.value)):
            yield str(node.value).replace(":", ".")


def test_imports_run_down_the_layers() -> None:
    heights, wrong = rank(), []
    rooms = {room_of(path) for path in MODULES} - FOUNDATION
    assert rooms == set(heights), "docs/design.md names every room of the house in the import order, and no other"
    for path in MODULES:
        here = room_of(path)
        for name in imported(path) if here in heights else ():
            there = name.split(".")[1] if name.startswith("torchsid.") else here
            if there in heights and there != here and heights[there] >= heights[here]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_only_distributed_and_its_bench_talk_to_other_processes() -> None:
    talkers = {room_of(path) for path in MODULES if any(name.startswith("torch.distributed") for name in imported(path))}
    assert talkers <= {"distributed", "bench"}


def test_no_pickle() -> None:
    for path in MODULES:
        names = set(imported(path))
        assert not {name.split(".")[0] for name in names} & PICKLES, path
        calls = {ast.unparse(node.func) for node in ast.walk(MODULES[path]) if isinstance(node, ast.Call)}
        assert not {"torch.load", "torch.save"} & (calls | names), path


def test_importing_the_packages_leaves_torch_alone() -> None:
    code = f"import sys, {', '.join(LAZY)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_and_lists_import_nothing_heavy() -> None:
    for arguments, heavy in ((["--help"], {"torch", "numpy", "pydantic", "rich"}), (["list"], {"torch"})):
        command = [sys.executable, "-X", "importtime", "-m", "torchsid", *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        modules = set(re.findall(r"^import time:.*\| +(\S+)$", result.stderr, flags=re.MULTILINE))
        assert "torchsid.cli.main" in modules
        assert not modules & heavy, arguments


@pytest.mark.parametrize("package", LAZY)
def test_public_names_are_there_and_no_others(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_a_subpackage_is_loaded_as_a_module() -> None:
    assert torchsid.models.names() == import_module("torchsid.models").names()
