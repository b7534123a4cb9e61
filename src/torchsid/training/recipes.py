"""Recipes: TOML files that hold a run's configuration, shipped by name or given by path.

A recipe states a `description` and the settings that differ from the defaults; with `extends = "NAME"` only what differs from
another recipe. The resolved `config.toml` of a run is a recipe too.
"""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from torchsid.errors import ConfigError, unknown_name
from torchsid.settings import Setting, allowed, settings_of
from torchsid.training import rules
from torchsid.training.choices import CHOICES
from torchsid.training.config import CONFIG, RunConfig
from torchsid.training.schema import dotted_names, problems_of

_SHIPPED = files("torchsid") / "recipes"
_ABOUT = ("description", "extends")  # keys of a recipe that are no settings
_EVERY_RUN = {name: kind for name, kind in dotted_names(RunConfig).items() if kind and "." not in name}


def recipe_names() -> dict[str, str]:
    """Return the shipped recipes: name and one-line description, in alphabetical order."""
    paths = sorted((entry for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return {path.name.removesuffix(".toml"): tomllib.loads(path.read_text("utf-8")).get("description", "") for path in paths}


def load_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Return a recipe's settings as a nested table, merged with those of the recipes that it extends.

    A name with a path separator or the suffix `.toml` is a file, anything else a shipped recipe.

    Raises:
        ConfigError: no such recipe, unreadable TOML, or recipes that extend each other in a circle.
    """
    return _load(str(name_or_path), seen=())


def resolve(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a recipe with `key=value` overrides, such as `learner.alpha=0.7`, one on top of the other.

    Args:
        recipe: name or path of a recipe, or the table that `load_recipe` returned.
        overrides: dotted name and value; the value is read as TOML, and as a string where it is no TOML.

    Raises:
        ConfigError: unknown keys, with the nearest right one, bad values, and settings that exclude each other; all at once.
    """
    table = dict(recipe) if isinstance(recipe, Mapping) else load_recipe(recipe)
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if equals:
            table = layered(table, _nest(name.strip(), _parse(text.strip())))
        else:
            problems.append(f"override {override!r}: write it as KEY=VALUE, such as training.epochs=3")
    return _checked(table, problems)


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one table on top of those of another.

    Where the upper one chooses something else, what it no longer knows of the lower one's settings is dropped: a twin of a recipe
    changes `learner.name` and nothing else. What neither knows stays, to be reported.
    """
    joined = _merged(below, above)
    for name in CHOICES:
        if isinstance(section := joined.get(name), Mapping):
            try:
                before, after = (set(CHOICES[name].settings(*_of_section(name, table))) for table in (below, joined))
            except ConfigError:  # reported when the whole is checked
                continue
            gone = before - after - set(_of_section(name, above)[0])
            joined[name] = {key: value for key, value in section.items() if key not in gone}
    return joined


def describe(config: RunConfig) -> list[tuple[str, object, str, str]]:
    """Return dotted name, value, what is allowed and meaning of every setting that a recipe's method, task and network have."""
    rows = []
    for name in (*CHOICES, *_EVERY_RUN):
        section = getattr(config, name)
        chosen = CHOICES[name].settings(vars(section), config.task) if name in CHOICES else None
        rows += list(_rows(f"{name}.", section, chosen))
    return rows


def _rows(prefix: str, section: object, settings: Mapping[str, Setting] | None = None) -> Iterator[tuple[str, object, str, str]]:
    kind: Callable[..., Any] = type(section)
    for name, setting in (settings or settings_of(kind)).items():
        value, text = getattr(section, name), setting.description
        if is_dataclass(value):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value, allowed(setting.annotation), text[:1].upper() + text[1:] if text[:1].isascii() else text


def _checked(table: Mapping[str, Any], problems: list[str]) -> RunConfig:
    kinds: dict[str, Any] = dict(_EVERY_RUN)
    for name, choice in CHOICES.items():
        try:
            kinds[name] = choice.section(*_of_section(name, table))
        except ConfigError as error:
            kinds[name] = Any  # what it may hold nobody knows
            problems += [f"{name}: {problem}" for problem in error.problems]
    known = dotted_names(RunConfig)
    for name in CHOICES:
        if kinds[name] is not Any:
            known |= {name: kinds[name], **dotted_names(kinds[name], f"{name}.")}
    whole = {**{name: {} for name in kinds}, **table}
    try:
        # As JSON, because pydantic's strict mode takes tables for dataclasses only from there.
        checked = _whole(tuple(kinds.items())).model_validate_json(json.dumps(whole, default=str))
    except ValidationError as error:
        problems += problems_of(error, known)
    if problems:
        raise ConfigError(problems)
    config = RunConfig(**dict(checked))
    if problems := rules.problems(config):
        raise ConfigError(problems)
    return config


@cache
def _whole(kinds: tuple[tuple[str, Any], ...]) -> type[BaseModel]:
    sections: Any = {name: (kind, ...) for name, kind in kinds}
    task: Any = (str, CHOICES["data"].default)
    made: type[BaseModel] = create_model("Recipe", __config__=CONFIG, recipe=(str, ...), label=(str, ...), task=task, **sections)
    return made


def _of_section(name: str, table: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return what a table sets in a section that chooses by name, and the table's task."""
    section = table.get(name, {})
    return section if isinstance(section, Mapping) else {}, str(table.get("task", CHOICES["data"].default))


def _load(name: str, seen: tuple[str, ...], beside: Path | None = None) -> dict[str, Any]:
    if name in seen:
        raise ConfigError([f"recipes extend each other in a circle: {' -> '.join((*seen, name))}"], source="recipe")
    path, shipped = Path(name), _SHIPPED / f"{name}.toml"
    is_file = path.suffix == ".toml" or len(path.parts) > 1
    if not is_file and not shipped.is_file():
        raise ConfigError([unknown_name("recipe", name, recipe_names()) + "; a file of your own ends in .toml"], source="recipe")
    path = (beside or Path()) / path
    try:
        table = tomllib.loads((path if is_file else shipped).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"cannot read {path}: {getattr(error, 'strerror', None) or error}"], source="recipe") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name} is not valid TOML: {error}"], source="recipe") from None
    base = _load(str(table["extends"]), (*seen, name), path.parent if is_file else None) if "extends" in table else {}
    own = {"recipe": path.stem, "label": path.stem} | {key: value for key, value in table.items() if key not in _ABOUT}
    return layered(base, own)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with what `above` sets, table by table."""
    table = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
        table[key] = _merged(table[key], value) if both_tables else value
    return table


def _nest(name: str, value: object) -> dict[str, Any]:
    """Return `{"a": {"b": 1}}` for `a.b` and 1."""
    *sections, leaf = name.split(".")
    table: dict[str, Any] = {leaf: value}
    for section in reversed(sections):
        table = {section: table}
    return table


def _parse(text: str) -> object:
    """Return the TOML value that the text holds, or the text itself: `--set data.name=digits` needs no quotes."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text
