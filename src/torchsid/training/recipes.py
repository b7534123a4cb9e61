"""Recipes: TOML files that hold a run's configuration, shipped by name or given by path.

A recipe states a `description` and the settings that differ from the defaults; with `extends = "NAME"` only what differs from
another recipe. The resolved `config.toml` of a run is a recipe too.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache, reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from torchsid.errors import ConfigError, did_you_mean, unknown_name
from torchsid.settings import STRICT, Setting, allowed, path_setting, settings_of
from torchsid.training.config import CHOICES, RunConfig
from torchsid.training.toml import parse_toml, read_toml, shown, within_limits

_SHIPPED = files("torchsid") / "recipes"
_PATHS = ("path", "cache")  # settings that are folders, whose names may have any bytes
_ABOUT = ("description", "extends")  # keys of a recipe that are no settings
_PLAIN_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,150}")  # of a directory, beside others


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
    layers: dict[str, dict[str, Any]] = {}  # the uppermost first, by where it lies
    name, beside = str(name_or_path), Path()
    while True:
        path, is_file = beside / name, is_a_file(name)
        if not is_file and f"{name}.toml" not in {entry.name for entry in _SHIPPED.iterdir()}:
            unknown = unknown_name("recipe", name, recipe_names())
            raise ConfigError([f"{unknown}; a file of your own ends in .toml"], source="recipe")
        table = read_toml(path if is_file else _SHIPPED / f"{name}.toml", str(path))
        place = os.path.realpath(path) if is_file else name
        if place in layers:
            raise ConfigError([f"recipes extend each other in a circle: {' -> '.join((*layers, place))}"], source="recipe")
        stem = Path(name).stem
        layers[place] = {"recipe": stem, "label": stem} | {key: value for key, value in table.items() if key not in _ABOUT}
        if "extends" not in table:
            return reduce(layered, reversed(layers.values()), {})
        name, beside = str(table["extends"]), path.parent if is_file else Path()


def is_a_file(name: str) -> bool:
    """Return whether a recipe or an experiment is named by its file: with a path separator, or the suffix `.toml`."""
    path = Path(name)
    return path.suffix.lower() == ".toml" or len(path.parts) > 1


def resolve(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a recipe with `key=value` overrides, such as `learner.alpha=0.7`, one on top of the other.

    Args:
        recipe: name or path of a recipe, or the table that `load_recipe` returned.
        overrides: dotted name and value; the value is read as TOML, and as a string where it is no TOML.

    Raises:
        ConfigError: unknown keys, with the nearest right one, bad values, and settings that exclude each other; all at once.
    """
    table, ruled_out = within_limits(recipe if isinstance(recipe, Mapping) else load_recipe(recipe))
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            problems.append(f"override {shown(override)!r}: write it as KEY=VALUE, such as training.epochs=3")
            continue
        try:
            above = _parse(text.strip())
        except ValueError as error:
            problems.append(f"override {shown(override)!r}: {error}")
            continue
        *sections, last = name.strip().split(".", 10)
        above = path_setting(above) if last in _PATHS and isinstance(above, str) else above
        above, unfit = within_limits({last: above}, "".join(f"{section}." for section in sections))
        ruled_out |= unfit
        if unfit:
            continue
        for section in reversed(sections):
            above = {section: above}
        table = layered(table, above)
    kinds: dict[str, Any] = {}
    for name, choice in CHOICES.items():
        try:
            kinds[name] = choice.section(*_of_section(name, table))
        except ConfigError as error:
            kinds[name] = Any  # what it may hold nobody knows
            problems += [f"{name}: {problem}" for problem in error.problems]
    whole = _with_sections(tuple(kinds.items()))
    try:
        # As JSON, because pydantic's strict mode takes tables for dataclasses only from there.
        text = json.dumps({name: {} for name in CHOICES} | table, default=str)
        config: RunConfig = TypeAdapter(whole).validate_json(text)
    except ValidationError as error:
        missing = {f"{name} is required" for name in ruled_out}
        problems += [problem for problem in problems_of(error, dotted_names(whole)) if problem not in missing]
    problems += [f"{name} {why}" for name, why in ruled_out.items()]
    if not _PLAIN_NAME.fullmatch(given := str(table.get("recipe", "-"))):
        problems.append(f"recipe = {shown(given)!r} is no plain name of a directory: leave out /, \\ and a dot in front")
    if not problems:
        from torchsid.training import setup  # here, because recipes are listed without torch

        problems = [*setup.problems(config)]
    if problems:
        raise ConfigError(problems)
    return config


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
    rows: list[tuple[str, object, str, str]] = []
    for name, section in vars(config).items():
        if is_dataclass(section):
            chosen = CHOICES[name].settings(vars(section), config.task) if name in CHOICES else None
            rows += _rows(f"{name}.", section, chosen)
    return rows


def _rows(prefix: str, section: object, settings: Mapping[str, Setting] | None = None) -> Iterator[tuple[str, object, str, str]]:
    kind: Callable[..., Any] = type(section)
    for name, setting in (settings_of(kind) if settings is None else settings).items():
        value, text = getattr(section, name), setting.description
        if is_dataclass(value):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield prefix + name, value, allowed(setting.annotation), text[:1].upper() + text[1:] if text[:1].isascii() else text


@cache
def _with_sections(kinds: tuple[tuple[str, Any], ...]) -> type[RunConfig]:
    """Return `RunConfig` with sections of these kinds."""
    plain = make_dataclass("RunConfig", kinds, bases=(RunConfig,), frozen=True, kw_only=True)
    checked: Any = dataclass(plain, frozen=True, kw_only=True, config=STRICT)
    made: type[RunConfig] = checked
    return made


def _of_section(name: str, table: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return what a table sets in a section that chooses by name, and the table's task."""
    section = table.get(name, {})
    return section if isinstance(section, Mapping) else {}, str(table.get("task", CHOICES["data"].default))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with what `above` sets, table by table."""
    table = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
        table[key] = _merged(table[key], value) if both_tables else value
    return table


def _parse(text: str) -> Any:
    """Return the TOML value that the text holds, or the text itself: `--set data.name=digits` needs no quotes.

    A value without end is a ValueError.
    """
    try:
        table = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def dotted_names(tree: type, prefix: str = "") -> dict[str, type | None]:
    """Return every dotted name of the tree: with its dataclass for a section, with None for a field."""
    names: dict[str, type | None] = {}
    hints = get_type_hints(tree)
    for entry in fields(tree):
        name, section = prefix + entry.name, hints[entry.name]
        if is_dataclass(section) and isinstance(section, type):
            names |= {name: section, **dotted_names(section, f"{name}.")}
        else:
            names[name] = None
    return names


def unknown_key(name: str, names: Mapping[str, type | None]) -> str:
    """Return the message for a dotted name that the tree does not have, with the nearest one that it has."""
    parent, _, leaf = name.rpartition(".")
    # The right word in another section comes first, then a slip within the right section, then whatever that section has.
    if elsewhere := [known for known, section in names.items() if section is None and known.rpartition(".")[2] == leaf]:
        return f"unknown key {name!r} (did you mean {' or '.join(map(repr, elsewhere))}?)"
    siblings = {known: known.rpartition(".")[2] for known in names if known.rpartition(".")[0] == parent}
    hint = did_you_mean(name, [known for known, own in siblings.items() if did_you_mean(leaf, [own])])
    if parent and not hint:
        return f"unknown key {name!r}; {parent} has {', '.join(siblings.values())}"
    return f"unknown key {name!r}{hint or did_you_mean(name, names)}"


def problems_of(error: ValidationError, names: Mapping[str, type | None]) -> list[str]:
    """Return one message for each field or section that pydantic refused."""
    problems: dict[str, list[str]] = {}  # what was given, or the whole message; and the reasons of each member of a union
    for item in error.errors(include_url=False):
        parts = [str(part) for part in item["loc"]]
        # pydantic appends the tried member of a union to the location: keep the part that is a field.
        name = next((known for end in range(len(parts), 0, -1) if (known := ".".join(parts[:end])) in names), ".".join(parts))
        match item["type"], item.get("ctx", {}).get("error"):
            case "extra_forbidden" | "unexpected_keyword_argument", _:
                problems[unknown_key(".".join(parts), names)] = []
            case "missing", _:
                problems[f"{name} is required"] = []
            case "dataclass_type", _:
                keys = [known.removeprefix(f"{name}.") for known in names if known.startswith(f"{name}.")]
                problems[f"{name} = {shown(repr(item['input']))}: {name} is a section, set one of its keys: {', '.join(keys)}"] = []
            case _, ConfigError() as cause:  # from a __post_init__ of ours, complete with names
                problems |= {problem: [] for problem in cause.problems}
            case _:
                problems.setdefault(name if names.get(name) else f"{name} = {shown(repr(item['input']))}", []).append(_reason(item))
    return [": ".join([given, *filter(None, [", or ".join(dict.fromkeys(reasons))])]) for given, reasons in problems.items()]


def _reason(item: ErrorDetails) -> str:
    reason = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    if item["type"] == "literal_error":
        reason += did_you_mean(str(item["input"]), item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
    return reason
