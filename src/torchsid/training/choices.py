"""The sections of a configuration that choose by name: each has the settings of what it chooses, and no others."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from torchsid import learners, models, tasks
from torchsid.errors import ConfigError
from torchsid.registry import Registry
from torchsid.settings import OneOf, all_settings

_STRICT = ConfigDict(extra="forbid", strict=True)
_MADE: dict[tuple[str, Callable[..., Any], str], type] = {}


@dataclass(frozen=True)
class Choice:
    """A section that chooses from a registry.

    Args:
        registry: what it chooses from.
        key: the setting that has the name of the choice; empty where `RunConfig.task` has it.
        default: the choice of a recipe that makes none.
    """

    registry: Registry
    key: str
    default: str

    def chosen(self, table: Mapping[str, Any], task: str) -> Callable[..., Any]:
        """Return the class or function that a section chooses.

        Raises:
            ConfigError: it does not exist.
        """
        return self.registry.load(str(table.get(self.key, self.default)) if self.key else task)

    def section(self, table: Mapping[str, Any], task: str) -> type:
        """Return the dataclass of a section that sets `table`.

        Raises:
            ConfigError: something that it chooses does not exist.
        """
        entry = self.chosen(table, task)
        settings = list(all_settings(entry, table).values())
        made = (self.key, entry, repr(settings))
        if made not in _MADE:  # so that equal sections are equal
            fields = [(self.key, str, field(default=self.default))] if self.key else []
            for setting in settings:
                annotation = str if OneOf.within(setting.annotation) else setting.annotation
                fields.append((setting.name, annotation, _field(setting.default)))
            plain = make_dataclass(getattr(entry, "__name__", "Settings"), fields, frozen=True, kw_only=True)
            _MADE[made] = pydantic_dataclass(plain, frozen=True, kw_only=True, config=_STRICT)
        return _MADE[made]


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return field()
    if isinstance(default, list):
        return field(default_factory=lambda: list(default))
    return field(default=default)


CHOICES: Mapping[str, Choice] = {
    "data": Choice(tasks.TASKS, "", "images"),
    "model": Choice(models.NETWORKS, "network", "cascade"),
    "learner": Choice(learners.LEARNERS, "name", "sid"),
}
"""By section of `RunConfig`."""


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one table on top of those of another.

    Where the upper one chooses something else, what it no longer knows of the lower one's settings is dropped: a twin of a recipe
    changes `learner.name` and nothing else. What neither knows stays, to be reported.
    """
    joined = merged(below, above)
    for name, choice in CHOICES.items():
        lower, upper, both = (table.get(name, {}) for table in (below, above, joined))
        if isinstance(lower, Mapping) and isinstance(upper, Mapping) and isinstance(both, Mapping):
            try:
                before = choice.section(lower, str(below.get("task", CHOICES["data"].default)))
                after = choice.section(both, str(joined.get("task", CHOICES["data"].default)))
            except ConfigError:  # reported when the whole is checked
                continue
            gone = set(inspect.signature(before).parameters) - set(inspect.signature(after).parameters) - set(upper)
            if gone & set(both):
                joined[name] = {key: value for key, value in both.items() if key not in gone}
    return joined


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with what `above` sets, table by table."""
    table = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
        table[key] = merged(table[key], value) if both_tables else value
    return table
