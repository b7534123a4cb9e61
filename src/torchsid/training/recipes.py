"""Recipes: TOML files that hold a run's configuration, shipped by name or given by path.

A recipe states a `description` and the settings that differ from the defaults; with `extends = "NAME"` only what differs from
another recipe. The resolved `config.toml` of a run is a recipe too.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from torchsid.errors import ConfigError, unknown_name
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
    """Return the configuration of a recipe with `key=value` overrides, such as `learner.alpha=0.7`.

    Args:
        recipe: name or path of a recipe, or the table that `load_recipe` returned.
        overrides: dotted name and value; the value is read as TOML, and as a string where it is no TOML.

    Raises:
        ConfigError: unknown keys and bad values, all of them at once, unknown keys with the nearest right one.
    """
    known = dotted_names(RunConfig)
    table = recipe if isinstance(recipe, Mapping) else load_recipe(recipe)
    settings = dict(flatten(table, known))
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            problems.append(f"override {override!r}: write it as KEY=VALUE, such as training.epochs=3")
            continue
        settings.update(flatten(_nest({name.strip(): _parse(text.strip())}), known))

    tree = {}
    for name, value in settings.items():
        if name not in known:
            problems.append(unknown_key(name, known))
        elif known[name] is not None:
            problems.append(not_a_section(name, known))
        else:
            tree[name] = value
    try:
        config = TypeAdapter(RunConfig).validate_python(_nest(tree))
    except ValidationError as error:
        problems += problems_of(error, known)
    if problems:
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
    return _merge(base, own)


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `own` sets, table by table."""
    merged = dict(base)
    for key, value in own.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"a.b": 1}` as `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, leaf = name.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[leaf] = value
    return tree


def _parse(text: str) -> object:
    """Return the TOML value that the text holds, or the text itself: `--set data.name=digits` needs no quotes."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text
