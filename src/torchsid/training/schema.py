"""The dotted names of a tree of dataclasses, and messages for what does not fit it."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
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
            names[name] = section
            names.update(dotted_names(section, name + "."))
        else:
            names[name] = None
    return names


def flatten(table: Mapping[str, Any], names: Mapping[str, type | None], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(dotted name, value)` for what a nested table sets; an unknown table is yielded whole."""
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, Mapping) and names.get(name) is not None:
            yield from flatten(value, names, name + ".")
        else:
            yield name, value


def unknown_key(name: str, names: Mapping[str, type | None]) -> str:
    """Return the message for a dotted name that the tree does not have, with the nearest one that it has."""
    parent, _, leaf = name.rpartition(".")
    siblings = [known for known in names if known.rpartition(".")[0] == parent]
    elsewhere = [known for known, section in names.items() if section is None and known.rpartition(".")[2] == leaf]
    # The right word in another section comes first, then a slip within the right section, then anything near.
    if elsewhere:
        return f"unknown key {name!r} (did you mean {' or '.join(map(repr, elsewhere))}?)"
    hint = did_you_mean(name, [known for known in siblings if did_you_mean(leaf, [known.rpartition(".")[2]])])
    return f"unknown key {name!r}" + (hint or did_you_mean(name, names))


def not_a_section(name: str, names: Mapping[str, type | None]) -> str:
    """Return the message for a section that was given a plain value."""
    return f"{name} is a section: set one of its keys, {', '.join(known for known in names if known.startswith(name + '.'))}"


def differences(before: object, after: object, prefix: str = "") -> list[str]:
    """Return `name: old -> new` for every field in which two trees of the same dataclass differ."""
    found = []
    for entry in fields(before):  # type: ignore[arg-type]
        old, new = getattr(before, entry.name), getattr(after, entry.name)
        if is_dataclass(old):
            found += differences(old, new, f"{prefix}{entry.name}.")
        elif old != new:
            found.append(f"{prefix}{entry.name}: {old!r} -> {new!r}")
    return found


def problems_of(error: ValidationError, names: Mapping[str, type | None], *, prefix: str = "") -> list[str]:
    """Return one message for each field or pair of fields that pydantic refused."""
    problems: dict[str, list[str]] = {}
    inputs: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):  # from a __post_init__ of ours, complete with names
            problems.update({problem: [] for problem in cause.problems})
            continue
        # pydantic appends the tried member of a union to the location: keep the part that is a field.
        parts = [str(part) for part in item["loc"]]
        name = next(
            (known for end in range(len(parts), 0, -1) if (known := prefix + ".".join(parts[:end])) in names),
            prefix + ".".join(parts),
        )
        problems.setdefault(name, []).append(_reason(item))
        inputs[name] = item["input"]
    return [_problem(name, reasons, names.get(name), inputs.get(name)) for name, reasons in problems.items()]


def _problem(name: str, reasons: list[str], section: type | None, given: object) -> str:
    if not reasons:
        return name
    if reasons == ["required"]:
        return f"{name} is required"
    return (name if section else f"{name} = {given!r}") + ": " + ", or ".join(dict.fromkeys(reasons))


def _reason(item: ErrorDetails) -> str:
    if item["type"] == "missing":
        return "required"
    reason = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    if item["type"] == "literal_error":
        reason += did_you_mean(str(item["input"]), item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
    return reason
