"""The dotted names of a tree of dataclasses, and messages for what does not fit it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from torchsid.errors import ConfigError, did_you_mean


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
    if hint := did_you_mean(name, [known for known, own in siblings.items() if did_you_mean(leaf, [own])]):
        return f"unknown key {name!r}{hint}"
    return (
        f"unknown key {name!r}; {parent} has {', '.join(siblings.values())}"
        if parent
        else f"unknown key {name!r}{did_you_mean(name, names)}"
    )


def differences(before: object, after: object, prefix: str = "") -> list[str]:
    """Return `name: old -> new` for every field in which two configurations differ; a setting that one of them lacks is absent."""
    old, new = (dict(_leaves(asdict(tree), prefix)) for tree in (before, after))  # type: ignore[call-overload]
    return [
        f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}" for name in old | new if old.get(name) != new.get(name)
    ]


def problems_of(error: ValidationError, names: Mapping[str, type | None]) -> list[str]:
    """Return one message for each field or section that pydantic refused."""
    problems: dict[str, tuple[str, list[str]]] = {}
    for item in error.errors(include_url=False):
        parts = [str(part) for part in item["loc"]]
        # pydantic appends the tried member of a union to the location: keep the part that is a field.
        name = next((known for end in range(len(parts), 0, -1) if (known := ".".join(parts[:end])) in names), ".".join(parts))
        match item["type"], item.get("ctx", {}).get("error"):
            case "extra_forbidden" | "unexpected_keyword_argument", _:
                messages = [unknown_key(".".join(parts), names)]
            case "missing", _:
                messages = [f"{name} is required"]
            case "dataclass_type", _:
                keys = [known.removeprefix(f"{name}.") for known in names if known.startswith(f"{name}.")]
                messages = [f"{name} = {item['input']!r}: {name} is a section, set one of its keys: {', '.join(keys)}"]
            case _, ConfigError() as cause:  # from a __post_init__ of ours, complete with names
                messages = [*cause.problems]
            case _:
                given = name if names.get(name) else f"{name} = {item['input']!r}"
                problems.setdefault(name, (given, []))[1].append(_reason(item))
                continue
        problems |= {message: (message, []) for message in messages}
    return [
        ": ".join([given, *([", or ".join(dict.fromkeys(reasons))] if reasons else [])]) for given, reasons in problems.values()
    ]


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, repr(value)


def _reason(item: ErrorDetails) -> str:
    reason = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    if item["type"] == "literal_error":
        reason += did_you_mean(str(item["input"]), item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
    return reason
