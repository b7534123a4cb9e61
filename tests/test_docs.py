"""The reference in the docs leaves nothing out: no public name, no setting, no command and no option."""

import re
import runpy
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from torchsid.core.rule import Rule
from torchsid.heads import HEADS
from torchsid.learners import LEARNERS
from torchsid.models import CLASSIFIERS, EXTRACTORS, NETWORKS
from torchsid.registry import Registry
from torchsid.settings import settings_of
from torchsid.tasks import TASKS
from torchsid.tasks.images.datasets import DATASETS
from torchsid.training.recipes import describe, recipe_names, resolve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.name: re.sub("<!--.*?-->", "", path.read_text("utf-8"), flags=re.S) for path in [ROOT / "README.md", *DOCS.glob("*.md")]
}
SETTINGS: str = runpy.run_path(str(DOCS / "settings_reference.py"))["page"]()
COMMANDS = runpy.run_path(str(DOCS / "command_reference.py"))


def documented() -> set[int]:
    """What the pages document: by autodoc one by one, by autodoc as a part of its module, or with its path in words."""
    text = "\n".join([*PAGES.values(), SETTINGS])
    names = set(re.findall(r"(?:`|auto(?:class|function|data):: )(torchsid(?:\.\w+)+)", text))
    for module, members in re.findall(r"automodule:: (\S+)\n(?: +:no-index:\n)? +:members:(.*)", text):
        every = [name for name in public_names(module) if isroutine(value := resolve_name(f"{module}:{name}")) or isclass(value)]
        names |= {f"{module}.{name}" for name in members.replace(",", " ").split() or every}
    return {id(resolve_name(name)) for name in names}


def public_names(module: str) -> list[str]:
    """What a module declares in `__all__`, or else the classes and functions that it defines."""
    loaded = import_module(module)
    own = [name for name, value in vars(loaded).items() if getattr(value, "__module__", "") == module and callable(value)]
    return [name for name in getattr(loaded, "__all__", own) if not name.startswith("_")]


def declared() -> set[str]:
    """The names that a package within this one declares to be public."""
    source = [
        path.relative_to(ROOT / "src") for path in (ROOT / "src/torchsid").rglob("__init__.py") if "__all__" in path.read_text()
    ]
    return {f"{module}.{name}" for module in (".".join(path.parent.parts) for path in source) for name in public_names(module)}


def imported() -> set[str]:
    """The names that the pages and the examples import."""
    code = "\n".join([*PAGES.values(), *(path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py"))])
    lines = re.findall(r"^ *from (torchsid[\w.]*) import ([\w, ]+)", code, re.M)
    return {f"{module}.{name}" for module, names in lines for name in re.findall(r"\w+", names.split(" as ")[0])}


def test_every_public_name_is_in_the_reference() -> None:
    names, found = declared() | imported() - {"torchsid.training"}, documented()  # a package is no name
    assert len(names) > 50
    assert [name for name in sorted(names) if id(resolve_name(name)) not in found] == []


def test_every_command_is_in_the_reference_with_all_its_options() -> None:
    assert "_generated/command.md" in PAGES["command-line.md"]
    sections = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^### |\Z)", COMMANDS["page"](), re.M | re.S))
    for parser in COMMANDS["commands"]():
        assert parser.description in sections[parser.prog]
        for argument in COMMANDS["arguments"](parser):
            assert argument.help, argument.dest
            assert all(f"`{option}" in sections[parser.prog] for option in argument.option_strings)


def test_every_command_on_a_page_has_the_options_and_settings_that_it_is_given_there() -> None:
    takes = {each.prog: {*each._option_string_actions} for each in COMMANDS["commands"]()}
    said = [
        (page, line) for page, text in PAGES.items() for line in re.findall(r"(?<!\$ )torchsid [a-z].*", text.replace("\\\n", " "))
    ]
    for page, line in said:
        words = re.split(r"[`#|]", line)[0].split()
        command = max((prog for prog in takes if words[: len(prog.split())] == prog.split()), key=len)
        options = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z].*", word)}
        assert options <= takes[command], f"{page}: {line}"
        own = re.search(r"=\w+:\w+", line)  # something of the reader's, with settings of its own
        settings = [] if own else re.findall(r"--set '?([a-z_]+\.[a-z_.]+)=", line)
        assert [each for each in settings if not re.search(rf"`\[?{each}\b", SETTINGS)] == [], f"{page}: {line}"


@pytest.mark.parametrize(
    "task",
    [
        *("data", "model", "method", "head", "task", "many workers", "slow lines", "a GPU"),
        *("noisy labels", "early exit", "export", "fine-tune with Hugging Face"),
    ],
)
def test_the_first_page_leads_to_every_how_to(task: str) -> None:
    (page, section) = re.findall(rf"\[{task}\]\(([\w-]+\.md)#?([\w-]*)\)", PAGES["index.md"])[0]
    headings = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^#+ (.+)$", PAGES[page], re.M)]
    assert not section or section in headings


@pytest.mark.parametrize(
    "registry", [LEARNERS, NETWORKS, EXTRACTORS, CLASSIFIERS, HEADS, TASKS, DATASETS], ids=lambda registry: registry.kind
)
def test_every_setting_of_a_registry_is_described_in_the_reference(registry: Registry) -> None:
    for entry in registry.names():
        assert f"`{entry}`" in SETTINGS
        for setting in settings_of(registry.load(entry)).values():
            assert re.search(rf"[._]{setting.name}\b", SETTINGS), f"{entry}: {setting.name}"
            assert setting.description[1:] in SETTINGS, f"{entry}: {setting.name}"  # it begins with a capital there


def test_every_setting_that_a_recipe_prints_is_in_the_reference() -> None:
    for name, _, _, meaning in [row for recipe in recipe_names() for row in describe(resolve(recipe))]:
        assert f"`{name}`" in SETTINGS
        assert meaning, name


def test_the_table_of_methods_says_what_their_classes_say() -> None:
    table = re.findall(
        r"^\| ([^|]+) \| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", (DOCS / "methods.md").read_text("utf-8"), re.M
    )
    rows = {name: (networks, locks, weights) for _, name, networks, locks, weights in table}
    methods = {name: LEARNERS.load(name) for name in LEARNERS.names()}
    assert rows.keys() == {name for name, method in methods.items() if isinstance(method, type) and issubclass(method, Rule)}
    titles = [title for title, *_ in table]
    assert titles == sorted(titles, key=str.casefold)
    for name, (networks, locks, weights) in rows.items():
        method: Any = methods[name]
        assert networks.split(", ")[: len(method.networks)] == list(method.networks), name
        assert set(re.findall("forward|update|backward", locks.partition(";")[0])) == method.locks, name
        assert weights.startswith("no") != method.transports_weights, name
