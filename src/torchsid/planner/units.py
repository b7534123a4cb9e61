"""Quantities with their units, read and written: `50GB/s`, `100Mbit/s`, `100ms`, `12GiB`. Needs no torch."""

import re
from collections.abc import Mapping

from torchsid.errors import ConfigError, did_you_mean

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

COUNT: Mapping[str, float] = _DECIMAL
BYTES: Mapping[str, float] = _DECIMAL | {f"{prefix}B": size for prefix, size in (_DECIMAL | _BINARY).items()}
BYTES_A_SECOND: Mapping[str, float] = {f"{prefix}B/s": size for prefix, size in (_DECIMAL | _BINARY).items()} | {
    f"{prefix}bit/s": size / 8 for prefix, size in _DECIMAL.items()
}
SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read(what: str, text: str, units: Mapping[str, float], *, example: str) -> float:
    """Return a quantity in its base unit.

    >>> read("link", "100Mbit/s", BYTES_A_SECOND, example="50GB/s")
    12500000.0

    Raises:
        ConfigError: it is not a number of 0 or more with one of the units.
    """
    found = re.fullmatch(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(.*)", text.strip())
    if found is None:
        raise ConfigError([f"{what} {text!r}: give a number and its unit, such as {example}"])
    number, unit = found.groups()
    if unit not in units:
        allowed = ", ".join(filter(None, units))
        raise ConfigError([f"{what} {text!r}: unknown unit {unit!r}{did_you_mean(unit, units)}; allowed: {allowed}"])
    return float(number) * units[unit]


def in_bytes(size: float) -> str:
    """Return a number of bytes to read.

    >>> in_bytes(3 * 2**29)
    '1.50 GiB'
    """
    prefix, unit = next(((prefix, unit) for prefix, unit in reversed(_BINARY.items()) if size >= unit), ("", 1.0))
    return f"{size / unit:.{2 if prefix else 0}f} {prefix}B"


def in_seconds(seconds: float) -> str:
    """Return a duration to read.

    >>> in_seconds(0.0123)
    '12.30 ms'
    """
    unit = next((unit for unit in ("s", "ms", "us") if seconds >= SECONDS[unit]), "us")
    return f"{seconds / SECONDS[unit]:.2f} {unit}"
