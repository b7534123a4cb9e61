"""Writing a configuration as TOML; reading is the standard library's `tomllib`."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter

from torchsid.training.config import RunConfig

_ADDED = {"learner.alpha_over": "stages", "learner.temperature": 1.0, "model.init": "pytorch"}
"""Settings that came after the first format of checkpoints, and their defaults."""


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML text that `load_recipe` reads back to an equal one.

    Settings that are None are left out, because TOML has no such value and None is their default.
    """
    return "\n".join(_lines(_tree(config))) + "\n"


def config_sha256(config: RunConfig) -> str:
    """Return the SHA-256 of the configuration's TOML text, as hexadecimal digits; without `distributed`, which may change.

    Settings of later versions count only where they are used, so that the checkpoints of earlier ones can be read.
    """
    tree = {name: _without_unused(name, section) for name, section in _tree(config).items() if name != "distributed"}
    return hashlib.sha256(("\n".join(_lines(tree)) + "\n").encode()).hexdigest()


def _without_unused(section: str, value: object) -> object:
    """Return a section of the tree without the settings of later versions that have their default value."""
    if not isinstance(value, Mapping):
        return value
    return {key: each for key, each in value.items() if (f"{section}.{key}", each) not in _ADDED.items()}


def _tree(config: RunConfig) -> Mapping[str, object]:
    tree: Mapping[str, object] = TypeAdapter(RunConfig).dump_python(config, mode="json")
    return tree


def _lines(table: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the table's own values first, then its sub-tables: a TOML header ends what stands before it."""
    for key, value in table.items():
        if not isinstance(value, Mapping) and value is not None:
            yield f"{key} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{'.'.join((*path, key))}]"
            yield from _lines(value, (*path, key))


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            # JSON's escapes are TOML's too; DEL is the one character that TOML alone wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"no TOML form for {type(value).__name__}")
