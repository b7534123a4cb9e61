"""A folder is a registry; and what holds for the entries of every registry of the house."""

from collections.abc import Iterator
from typing import Any

import pytest

from torchsid.errors import ConfigError
from torchsid.heads import HEADS
from torchsid.learners import LEARNERS
from torchsid.models import CLASSIFIERS, EXTRACTORS, NETWORKS
from torchsid.registry import Registry
from torchsid.settings import settings_of
from torchsid.tasks import TASKS, Task
from torchsid.tasks.images.datasets import DATASETS

FILES = {
    "__init__.py": "",
    "plain.py": '"""One line.\n\nAnd more."""\n\ndef plain(): ...',
    "two_words.py": '"""A class."""\n\nclass TwoWords: ...',
    "gru.py": '"""Capitals."""\n\nclass GRU: ...',
    "heavy.py": '"""Imported by nobody."""\n\nimport no_such_package\n\ndef heavy(): ...',
    "helpers.py": '"""No entry: nothing here has its name."""\n\nclass Other: ...',
    "many/__init__.py": "",
    "many/thing.py": '"""Several files."""\n\nfrom own_things.many.part import Part\n\nclass Many(Part): ...',
    "many/part.py": '"""Not the main file."""\n\nclass Part: ...',
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("path")
    for name, text in FILES.items():
        path = folder / "own_things" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "outside_things.py").write_text("class Mine: ...\nnumber = 3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Registry("own_things", "thing")


def test_files_are_entries_and_nothing_is_imported_to_list_them(things: Registry) -> None:
    assert things.names() == ("gru", "heavy", "many", "plain", "two-words")
    assert [things.descriptions()[name] for name in ("plain", "heavy")] == ["One line", "Imported by nobody"]


def test_an_entry_is_the_object_that_has_the_files_name(things: Registry) -> None:
    names = ("gru", "many", "plain", "two-words", "outside_things:Mine")
    assert [things.load(name).__name__ for name in names] == ["GRU", "Many", "plain", "TwoWords", "Mine"]


def test_attributes_are_those_of_the_classes_though_nothing_is_imported() -> None:
    for name, found in LEARNERS.attributes("networks", "locks", "takes_positions", "nonsense").items():
        method: Any = LEARNERS.load(name)
        assert found == (method.networks, method.locks, method.takes_positions, None), name


def test_classes_that_are_called_after_their_files_but_are_no_tasks_are_no_entries() -> None:
    found = {name: TASKS.load(name) for name in TASKS.names()}
    assert "images" in found
    assert all(isinstance(each, type) and issubclass(each, Task) for each in found.values())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plian", r"unknown thing 'plian' \(did you mean 'plain'\?\); allowed: gru, .*'package.module:Object'"),
        ("nowhere:Mine", r"thing 'nowhere:Mine': No module named 'nowhere'; install it, or .* PYTHONPATH"),
        ("outside_things:Yours", r"thing 'outside_things:Yours': module 'outside_things' has no attribute 'Yours'"),
        ("outside_things:number", "name a class or a function"),
        (":Mine", r"thing ':Mine': invalid format"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(things: Registry, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        things.load(name)


REGISTRIES = (LEARNERS, HEADS, CLASSIFIERS, EXTRACTORS, NETWORKS, TASKS, DATASETS)
ENTRIES = [pytest.param(registry, name, id=f"{registry.kind} {name}") for registry in REGISTRIES for name in registry.names()]


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_entry_of_the_house_is_described_with_all_its_settings(registry: Registry, name: str) -> None:
    entry = registry.load(name)
    assert registry.descriptions()[name]
    assert entry.__doc__
    assert [setting.name for setting in settings_of(entry).values() if not setting.description] == []
