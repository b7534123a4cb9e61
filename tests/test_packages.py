"""What is not installed is said in one line, and the extras of pyproject.toml bring all that the source imports."""

import ast
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest

import torchsid
from tests.test_architecture import MODULES, ROOT
from tests.wheel import CHECKS
from torchsid.errors import DataError, MissingPackageError
from torchsid.packages import require

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAMES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "pillow_jxl": "pillow-jxl-plugin",
    "mlflow": "mlflow-skinny",
}  # of modules that are not their package's
BY_OTHERS = {"typing_extensions", "pydantic_core"}  # come with pydantic
BY_NAME = {"timm", "torchvision", "cleanlab"}  # used where a person has them, and said so

T = TypeVar("T", bound=ast.AST)


def distribution(module: str) -> str:
    top = module.partition(".")[0]
    return NAMES.get(top, top.replace("_", "-"))


def packages(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]


CORE = packages(PROJECT["dependencies"])
EXTRAS = {extra: packages(found) for extra, found in PROJECT["optional-dependencies"].items()}


def nodes(kind: type[T]) -> list[tuple[Path, T]]:
    return [(path, node) for path, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, kind)]


def test_every_imported_package_is_a_dependency_or_in_an_extra() -> None:
    imported = {alias.name for _, node in nodes(ast.Import) for alias in node.names}
    imported |= {node.module or "" for _, node in nodes(ast.ImportFrom) if not node.level}
    named = [node.args[0] for _, node in nodes(ast.Call) if ast.unparse(node.func) == "import_module"]
    imported |= {str(node.value) for node in named if isinstance(node, ast.Constant)}
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"torchsid"} - BY_OTHERS - BY_NAME
    assert {distribution(name) for name in others} <= CORE.union(*EXTRAS.values())


def test_the_extra_that_is_named_brings_the_package() -> None:
    found = 0
    for path, node in nodes(ast.Call):
        extra = {word.arg: word.value for word in node.keywords}.get("extra")
        if ast.unparse(node.func) in ("require", "missing") and isinstance(extra, ast.Constant):
            (module,) = node.args
            assert not isinstance(module, ast.Constant) or distribution(str(module.value)) in EXTRAS[str(extra.value)], path
            found += 1
    assert found > 20


def test_every_extra_that_is_named_exists_and_is_tried_from_a_wheel() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = [found for page in pages for found in re.findall(r"torchsid\[([\w,]+)\]", page.read_text("utf-8"))]
    assert set(",".join(named).split(",")) <= set(EXTRAS)
    install = re.findall(r"^## Install\n(.*?)^## ", pages[0].read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    assert EXTRAS.keys() - {"dev", "docs"} <= set(re.findall(r"`(\w+)`", install))
    assert CHECKS.keys() == EXTRAS.keys() - {"dev", "docs"}


def test_a_package_that_is_missing_is_an_error_of_data_and_of_import() -> None:
    for kind in (DataError, ImportError):
        with pytest.raises(kind, match=r"^gold needs the package 'alchemy': pip install 'torchsid\[lead\]'$"):
            require("alchemy.gold", extra="lead", purpose="gold")


def test_the_version_is_the_same_wherever_it_stands() -> None:
    assert f"\nversion: {torchsid.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


@pytest.mark.parametrize(
    ("package", "module", "extra"),
    [
        ("lightning", "torchsid.integrations.lightning", "lightning"),
        ("sklearn.base", "torchsid.integrations.sklearn", "sklearn"),
        ("transformers", "torchsid.integrations.hf.trainer", "hf"),
    ],
)
def test_a_door_without_its_house_names_the_extra(package: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(MissingPackageError, match=rf"torchsid\[{extra}\]"):
        import_module(module)
