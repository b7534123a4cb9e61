"""The tables of docs/settings.md, read from the code: every setting of every section and of what a section can choose.

docs/conf.py writes them into docs/_generated whenever the documentation is built, so they cannot go stale.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, get_type_hints

from torchsid.heads import HEADS
from torchsid.learners import LEARNERS
from torchsid.models import CLASSIFIERS, EXTRACTORS, NETWORKS
from torchsid.registry import Registry
from torchsid.settings import Setting, allowed, field_descriptions, settings_of
from torchsid.tasks import TASKS
from torchsid.tasks.images.datasets import DATASETS
from torchsid.training.config import DistributedConfig, OptimizerConfig, TrainingConfig, WatchConfig

SECTIONS = {"optimizer": OptimizerConfig, "training": TrainingConfig, "watch": WatchConfig, "distributed": DistributedConfig}
"""Those that every recipe has."""


def page() -> str:
    """Return the tables as Markdown."""
    return "\n\n".join([
        "## `[data]`: the task's samples",
        *_entries(TASKS, "data"),
        "`data.name` of the task `images` is one of these, a `hub:OWNER/NAME`, or your own:",
        _list(DATASETS),
        "## `[model]`: the network",
        "`model.network` chooses what is made of a trunk or an extractor, whose own settings join the section.",
        *_entries(NETWORKS, "model"),
        "### `model.extractor`",
        _joined(EXTRACTORS),
        "### `model.trunk`",
        "Besides these, `transformers:KIND` and `transformers:FOLDER`; see [Hugging Face models](hugging-face.md).",
        "And `timm:NAME` and `torchvision:NAME`, models of these libraries by their names.",
        _joined(CLASSIFIERS),
        "### `model.head`",
        _joined(HEADS, "model.head_"),
        "## `[learner]`: the method",
        "`learner.name` chooses.",
        *_entries(LEARNERS, "learner"),
        *(part for name, section in SECTIONS.items() for part in _section(name, section)),
    ])  # fmt: skip


def settings(kind: Callable[..., Any], prefix: str) -> Iterator[tuple[str, Setting]]:
    """Yield dotted name and setting of everything that a section, method, network or task can be told, tables and their keys."""
    own = settings_of(kind).values() if not hasattr(kind, "__pydantic_fields__") else _fields(kind)
    for setting in own:
        yield f"{prefix}.{setting.name}", setting
        if hasattr(setting.annotation, "__dataclass_fields__"):
            yield from settings(setting.annotation, f"{prefix}.{setting.name}")


def _fields(section: Any) -> Iterator[Setting]:
    hints, described = get_type_hints(section, include_extras=True), field_descriptions(section)
    for each in fields(section):
        yield Setting(each.name, hints[each.name], each.default, described.get(each.name, ""))


def _section(name: str, section: type) -> Iterator[str]:
    yield f"## `[{name}]`"
    yield inspect.cleandoc(section.__doc__ or "")
    yield _table(settings(section, name))


def _entries(registry: Registry, prefix: str) -> Iterator[str]:
    """Yield heading, meaning, place and settings of every entry."""
    for name, description in registry.descriptions().items():
        entry = registry.load(name)
        yield f"### `{name}`"
        yield _about(entry) if isinstance(entry, type) else f"{description}."
        yield f"In Python `{entry.__module__}.{entry.__qualname__}`."
        yield _table(settings(entry, prefix))


def _about(entry: type) -> str:
    """Return the docstring of a class without its lists of arguments and errors."""
    return re.split(r"^(?:Args|Attributes|Raises):$", inspect.getdoc(entry) or "", maxsplit=1, flags=re.MULTILINE)[0].strip()


def _list(registry: Registry) -> str:
    rows = [f"| `{name}` | {_cell(description)} |" for name, description in registry.descriptions().items()]
    return "\n".join(["| name | is |", "| --- | --- |", *rows])


def _joined(registry: Registry, prefix: str = "model.") -> str:
    """Return one table for entries with few settings each."""
    rows = []
    for name, description in registry.descriptions().items():
        brought = settings_of(registry.load(name)).values()
        own = [f"`{prefix}{each.name}`, `{json.dumps(each.default)}` by default: {_meaning(each)}" for each in brought]
        rows.append(f"| `{name}` | {description} | {' '.join(own)} |")
    return "\n".join(["| name | is | brings |", "| --- | --- | --- |", *rows])


def _table(rows: Iterable[tuple[str, Setting]]) -> str:
    head = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *(_row(name, setting) for name, setting in rows)])


def _row(name: str, setting: Setting) -> str:
    if hasattr(setting.annotation, "__dataclass_fields__"):
        return f"| `[{name}]` | | | {_meaning(setting)} |"
    default = "required" if setting.default is inspect.Parameter.empty else f"`{json.dumps(setting.default)}`"
    return f"| `{name}` | {default} | {_cell(allowed(setting.annotation))} | {_meaning(setting)} |"


def _meaning(setting: Setting) -> str:
    text = setting.description
    return _cell(text[:1].upper() + text[1:] if text[:1].isascii() else text)


def _cell(text: str) -> str:
    """Return text for a table: outside code no `<` begins a tag and no `*` an emphasis."""
    return re.sub(r"(`[^`]*`)|([<*])", lambda found: found[1] or f"\\{found[2]}", text).replace("|", "\\|")
