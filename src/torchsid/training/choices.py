"""The sections of a configuration that choose by name: each has the settings of what it chooses, and no others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from inspect import Parameter
from typing import Annotated, Any, get_type_hints

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from torchsid import learners, models, tasks
from torchsid.registry import Registry
from torchsid.settings import OneOf, Setting, all_settings

_STRICT = ConfigDict(extra="forbid", strict=True)
_MADE: dict[str, type] = {}


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

    def makes(self, table: Mapping[str, Any], task: str) -> type:
        """Return the class of what a section makes: the one that it chooses, or what its function says that it returns.

        Raises:
            ConfigError: it does not exist.
        """
        chosen = self.chosen(table, task)
        made = chosen if isinstance(chosen, type) else get_type_hints(chosen).get("return")
        return made if isinstance(made, type) else object

    def settings(self, table: Mapping[str, Any], task: str) -> dict[str, Setting]:
        """Return the settings of a section that sets `table`, the choice itself first.

        Raises:
            ConfigError: something that it chooses does not exist.
        """
        about = Setting(self.key, Annotated[str, OneOf(self.registry)], self.default, f"The {self.registry.kind}, by name.")
        return ({self.key: about} if self.key else {}) | all_settings(self.chosen(table, task), table)

    def section(self, table: Mapping[str, Any], task: str) -> type:
        """Return the dataclass of a section that sets `table`; the same one for the same settings, so that equals are equal.

        Raises:
            ConfigError: something that it chooses does not exist.
        """
        settings = self.settings(table, task)
        identity = repr((self.chosen(table, task), settings))
        if identity not in _MADE:
            kinds = {each.name: str if OneOf.within(each.annotation) else each.annotation for each in settings.values()}
            fields = [(name, kind, _field(settings[name].default)) for name, kind in kinds.items()]
            plain = make_dataclass("Settings", fields, frozen=True, kw_only=True)
            _MADE[identity] = pydantic_dataclass(plain, frozen=True, kw_only=True, config=_STRICT)
        return _MADE[identity]


def _field(default: Any) -> Any:
    if default is Parameter.empty:
        return field()
    return field(default_factory=lambda: list(default)) if isinstance(default, list) else field(default=default)


CHOICES: Mapping[str, Choice] = {
    "data": Choice(tasks.TASKS, "", "images"),
    "model": Choice(models.NETWORKS, "network", "cascade"),
    "learner": Choice(learners.LEARNERS, "name", "sid"),
}
"""By section of `RunConfig`."""
