"""TOML files as people have them, and what no file of settings may hold."""

import math
import re
import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from torchsid.errors import ConfigError, printable

_LONGEST = 4096  # characters of a text: of a path
_DEEPEST = 8  # tables and lists within each other
_INT64 = range(-(2**63), 2**63)  # what TOML promises to hold


def read_toml(path: Traversable, name: str, *, source: str = "recipe") -> dict[str, Any]:
    """Return the table in a file, which messages call `name`; a ConfigError where it is no TOML, whatever the ends of its lines."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError of a name that holds NUL
        raise ConfigError([f"cannot read {shown(name)}: {getattr(error, 'strerror', None) or error}"], source=source) from None
    try:
        if b"\0" not in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            return parse_toml(content.decode("utf-8-sig"))
        problem = "is UTF-16, or no text: save it as UTF-8"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}: save it as UTF-8"
    except ValueError as error:
        problem = f"is not valid TOML: {error}"
    raise ConfigError([f"{name} {problem}"], source=source)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table that a text holds; a ValueError where it is no TOML, or too long or too deep to be read."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def within_limits(table: Mapping[str, Any], above: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Return a table without what no settings may hold, and why that is so, by dotted name."""
    kept, problems = dict[str, Any](), dict[str, str]()
    for key, value in table.items():
        name = f"{above}{shown(key)}"
        if why := _unfit(key) or ("is too deeply nested" if name.count(".") > _DEEPEST else ""):
            problems[name] = why
        elif isinstance(value, Mapping):
            kept[key], inner = within_limits(value, f"{name}.")
            problems |= inner
        elif why := _unfit(value):
            problems[name] = why
        else:
            kept[key] = value
    return kept, problems


def shown(text: object) -> str:
    """Return a text as messages show it: on one line, and not without end."""
    line = printable(str(text)[:200])
    return line if len(line) <= 120 else f"{line[:100]}…"


def _unfit(value: object, deep: int = 0) -> str:
    """Return why settings may not hold a key or a value; nothing where they may."""
    match value:
        case list() if deep == _DEEPEST:
            return "is too deeply nested"
        case list():
            return next(filter(None, (_unfit(each, deep + 1) for each in value)), "")
        case int() if value not in _INT64:
            return "is beyond the 64 bits that a whole number has"
        case float() if not math.isfinite(value):
            return f"= {value}: a finite number is needed"
        case str() if len(value) > _LONGEST:
            return f"has {len(value):,} characters: at most {_LONGEST:,} are taken"
        case str() if re.search("[\0\ud800-\udfff]", value):
            return f"= '{shown(value)}' holds NUL or bytes that are not UTF-8, which no TOML file can"
    return ""
