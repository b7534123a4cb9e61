"""The reference in the docs leaves nothing out: no public name, no setting."""

import re
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from torchsid.core.rule import Rule
from torchsid.heads import HEADS
from torchsid.learners import LEARNERS
from torchsid.models import CLASSIFIERS, EXTRACTORS, NETWORKS
from torchsid.registry import Registry
from torchsid.settings import settings_of
from torchsid.tasks import TASKS
from torchsid.training.recipes import describe, recipe_names, resolve

DOCS = Path(__file__).parents[1] / "docs"
SETTINGS = runpy.run_path(str(DOCS / "settings_reference.py"))["page"]()
REFERENCE = (DOCS / "api.md").read_text("utf-8")
PUBLIC = (
    "torchsid",
    "torchsid.anytime",
    "torchsid.core.beliefs",
    "torchsid.core.objective",
    "torchsid.distributed.pipeline",
    "torchsid.distributed.world",
    "torchsid.errors",
    "torchsid.heads",
    "torchsid.heads.cost",
    "torchsid.integrations.hf",
    "torchsid.integrations.hub",
    "torchsid.integrations.lightning",
    "torchsid.integrations.sklearn",
    "torchsid.learners",
    "torchsid.models",
    "torchsid.registry",
    "torchsid.settings",
    "torchsid.tasks",
    "torchsid.tasks.images",
    "torchsid.training",
)


def public_names(module: str) -> list[str]:
    """What a module declares in `__all__`, or else the classes and functions that it defines."""
    loaded = import_module(module)
    own = [name for name, value in vars(loaded).items() if getattr(value, "__module__", "") == module and callable(value)]
    return [name for name in getattr(loaded, "__all__", own) if not name.startswith("_")]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    assert not [name for name in public_names(module) if not re.search(rf"\b{name}\b", REFERENCE)]


@pytest.mark.parametrize(
    "registry", [LEARNERS, NETWORKS, EXTRACTORS, CLASSIFIERS, HEADS, TASKS], ids=lambda registry: registry.kind
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
