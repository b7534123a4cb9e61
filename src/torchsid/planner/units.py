"""Quantities with their units, read and written: `50GB/s`, `100Mbit/s`, `100ms`, `12GiB`. Needs no torch.

What is to be read has a class of its own: a float, as JSON has it, that prints with its unit.
"""

import re
from collections.abc import Mapping

from torchsid.errors import ConfigError, did_you_mean

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

NUMBER: Mapping[str, float] = _DECIMAL
BYTES: Mapping[str, float] = _DECIMAL | {f"{prefix}B": size for prefix, size in (_DECIMAL | _BINARY).items()}
BYTES_A_SECOND: Mapping[str, float] = {f"{prefix}B/s": size for prefix, size in (_DECIMAL | _BINARY).items()} | {
    f"{prefix}bit/s": size / 8 for prefix, size in _DECIMAL.items()
}
SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read(what: str, text: str, units: Mapping[str, float], *, example: str, zero: bool = False) -> float:
    """Return a quantity in its base unit; `zero` says whether it may be 0.

    Raises:
        ConfigError: it is not such a number with one of the units.
    """
    found = re.fullmatch(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(.*)", text.strip())
    if found is None:
        raise ConfigError([f"{what} {text!r}: give a number and its unit, such as {example}"])
    number, unit = found.groups()
    if unit not in units:
        allowed = ", ".join(filter(None, units))
        raise ConfigError([f"{what} {text!r}: unknown unit {unit!r}{did_you_mean(unit, units)}; allowed: {allowed}"])
    if not zero and not float(number):
        raise ConfigError([f"{what} {text!r}: give more than 0"])
    return float(number) * units[unit]


class Count(float):
    """A number of things: `304,326,632`."""

    def __str__(self) -> str:
        return f"{self:,.0f}"


class Share(float):
    """A part of a whole: `74.3 %`."""

    def __str__(self) -> str:
        return f"{100 * self:.1f} %"


class Bytes(float):
    """A size: `1.50 GiB`."""

    def __str__(self) -> str:
        prefix, unit = next(((prefix, unit) for prefix, unit in reversed(_BINARY.items()) if self >= unit), ("", 1.0))
        return f"{self / unit:.{2 if prefix else 0}f} {prefix}B"


class Seconds(float):
    """A duration: `12.30 ms`."""

    def __str__(self) -> str:
        unit = next((unit for unit in ("s", "ms", "us") if self >= SECONDS[unit]), "us")
        return f"{self / SECONDS[unit]:.2f} {unit}"
