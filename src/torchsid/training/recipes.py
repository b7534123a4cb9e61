"""Recipes: TOML files that hold a run's configuration, shipped by name or given by path.

A recipe states a `description` and the settings that differ from the defaults; with `extends = "NAME"` only what differs from
another recipe. The resolved `config.toml` of a run is a recipe too.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from torchsid.errors import ConfigError, unknown_name
from torchsid.settings import all_settings, allowed, field_descriptions
from torchsid.training import rules
from torchsid.training.choices import CHOICES, layered, merged
from torchsid.training.config import RunConfig
from torchsid.training.schema import dotted_names, flatten, not_a_section, problems_of, unknown_key

_SHIPPED = files("torchsid") / "recipes"
_ABOUT = ("description", "extends")  # keys of a recipe that are no settings


def names() -> dict[str, str]:
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


def sections_of(table: Mapping[str, Any]) -> dict[str, type]:
    """Return the dataclass of every section that the recipe `table` has, by name; `""` has the keys above all sections.

    Raises:
        ConfigError: something that the recipe chooses by name does not exist.
    """
    sections: dict[str, type] = {"": RunConfig}
    task, problems = str(table.get("task", CHOICES["data"].default)), []
    for name, choice in CHOICES.items():
        section = table.get(name, {})
        try:
            sections[name] = choice.section(section if isinstance(section, Mapping) else {}, task)
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return sections


def _checked(table: Mapping[str, Any], problems: list[str]) -> RunConfig:
    try:
        sections = sections_of(table)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    known = dotted_names(RunConfig)
    for section in CHOICES:
        known |= {section: sections[section], **dotted_names(sections[section], f"{section}.")}
    tree: dict[str, Any] = {}
    for name, value in flatten(table, known):
        if name not in known:
            problems.append(unknown_key(name, known))
        elif known[name] is not None:
            problems.append(not_a_section(name, known))
        else:
            tree = merged(tree, _nest(name, value))
    made: dict[str, Any] = {}
    for section, kind in known.items():
        if kind is not None and "." not in section:
            try:
                # As JSON, because pydantic's strict mode takes tables for dataclasses only from there.
                made[section] = TypeAdapter(kind).validate_json(json.dumps(tree.get(section, {})))
            except ValidationError as error:
                problems += problems_of(error, known, prefix=f"{section}.")
    top = {name: tree[name] for name in ("recipe", "label", "task") if name in tree}
    problems += [f"{name} = {value!r}: should be text" for name, value in top.items() if not isinstance(value, str)]
    problems += [f"{name} is required" for name in ("recipe", "label") if name not in top]
    if problems:
        raise ConfigError(problems)
    config = RunConfig(**top, **made)
    if problems := rules.problems(config):
        raise ConfigError(problems)
    return config


def _load(name: str, seen: tuple[str, ...], beside: Path | None = None) -> dict[str, Any]:
    if name in seen:
        raise ConfigError([f"recipes extend each other in a circle: {' -> '.join((*seen, name))}"], source="recipe")
    path, shipped = Path(name), names()
    if name in shipped:
        text, stem, folder = (_SHIPPED / f"{name}.toml").read_text("utf-8"), name, None
    elif path.suffix == ".toml" or len(path.parts) > 1:
        path = (beside or Path()) / path
        try:
            text, stem, folder = path.read_text("utf-8"), path.stem, path.parent
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"cannot read {path}: {getattr(error, 'strerror', None) or error}"], source="recipe") from None
    else:
        message = unknown_name("recipe", name, shipped) + "; a file of your own ends in .toml"
        raise ConfigError([message], source="recipe")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name} is not valid TOML: {error}"], source="recipe") from None
    base = _load(str(table["extends"]), (*seen, name), folder) if "extends" in table else {}
    own = {"recipe": stem, "label": stem} | {key: value for key, value in table.items() if key not in _ABOUT}
    return layered(base, own)


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


def describe(config: RunConfig) -> list[tuple[str, object, str, str]]:
    """Return dotted name, value, what is allowed and meaning of every setting that a recipe's method, task and network have."""
    table = asdict(config)
    rows: list[tuple[str, object, str, str]] = []
    for name in ("data", "model", "learner", "optimizer", "training", "watch", "distributed"):
        section = getattr(config, name)
        descriptions = _descriptions(name, table) if name in CHOICES else field_descriptions(type(section))
        rows += _rows(f"{name}.", section, descriptions)
    return rows


def _rows(prefix: str, section: Any, descriptions: Mapping[str, str]) -> Iterator[tuple[str, object, str, str]]:
    hints = get_type_hints(type(section), include_extras=True)
    for each in fields(section):
        value = getattr(section, each.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _rows(f"{prefix}{each.name}.", value, field_descriptions(type(value)))
        else:
            yield prefix + each.name, value, allowed(hints[each.name]), _capitalised(descriptions.get(each.name, ""))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def _descriptions(name: str, table: Mapping[str, Any]) -> dict[str, str]:
    choice, values = CHOICES[name], table.get(name, {})
    entry = choice.chosen(values, str(table.get("task", CHOICES["data"].default)))
    about = f"What is chosen, such as {', '.join(choice.registry.names()[:3])}."
    return {choice.key: about, **{each.name: each.description for each in all_settings(entry, values).values()}}
