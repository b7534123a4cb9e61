"""What computes and what connects: a catalogue of devices, own ones by their numbers, the link between them. Needs no torch.

Quantities are read and written with their units: `50GB/s`, `100Mbit/s`, `100ms`, `12GiB`. What is to be read has a class of its
own: a float, as JSON has it, that prints with its unit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torchsid.errors import did_you_mean, unknown_name

_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

NUMBER: Mapping[str, float] = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_SIZES = {f"{prefix}B": size for prefix, size in {**NUMBER, **_BINARY}.items()}
BYTES: Mapping[str, float] = {**NUMBER, **_SIZES}
BYTES_A_SECOND: Mapping[str, float] = {
    **{f"{unit}/s": size for unit, size in _SIZES.items()},
    **{f"{prefix}bit/s": size / 8 for prefix, size in NUMBER.items()},
}
SECONDS: Mapping[str, float] = {"min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read(what: str, text: str, units: Mapping[str, float], problems: list[str], *, example: str, zero: bool = False) -> float:
    """Return a quantity in its base unit; what is no such number with one of the units is added to the problems.

    The `example` is shown there; `zero` says whether the quantity may be 0.
    """
    number, unit = re.fullmatch(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)?\s*(.*)", text.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    if number is None:
        problems.append(f"{what} {text!r}: give a number and its unit, such as {example}")
    elif unit not in units:
        allowed = ", ".join(filter(None, units))
        problems.append(f"{what} {text!r}: unknown unit {unit!r}{did_you_mean(unit, units)}; allowed: {allowed}")
    elif not zero and not float(number):
        problems.append(f"{what} {text!r}: give more than 0")
    return float(number or 0) * units.get(unit, 1.0)


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
        unit = next((unit for unit in ("min", "s", "ms", "us") if self >= SECONDS[unit]), "us")
        return f"{self / SECONDS[unit]:,.2f} {unit}"


Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Optimizer = Literal["sgd", "momentum", "adamw"]
STATES: Mapping[Optimizer, int] = {"sgd": 0, "momentum": 1, "adamw": 2}  # numbers that an optimiser keeps for a parameter
FLOAT = 4  # bytes of a weight, its gradient and the optimiser's state of it, in every precision


@dataclass(frozen=True)
class Device:
    """One device."""

    name: str
    flops: Mapping[Precision, float]  # peak FLOP/s of dense matrix products in each precision that it has
    memory: float  # bytes
    bandwidth: float  # bytes a second between processor and memory, which bounds the optimiser's update


# The makers' data sheets: TFLOP/s without sparsity (as in PRECISIONS), memory in GiB as the driver reports it, GB/s.
_SHEETS = (
    ("V100", (15.7,), 32, 900),  # SXM2
    ("A100", (19.5, 156, 312), 80, 2039),  # SXM, 80 GB
    ("H100", (67, 494.5, 989), 80, 3350),  # SXM
    ("H200", (67, 494.5, 989), 140, 4800),  # SXM
    ("B200", (75, 1125, 2250), 179, 8000),  # HGX
    ("MI300X", (163.4, 653.7, 1307), 192, 5300),
    ("L4", (30.3, 60, 121), 22, 300),
    ("L40S", (91.6, 183, 362), 45, 864),
    ("RTX3090", (35.6, 35.6, 71), 24, 936),
    ("RTX4090", (82.6, 82.6, 165), 24, 1008),
)
CATALOGUE = tuple(
    Device(name, {precision: 1e12 * peak for precision, peak in zip(PRECISIONS, peaks, strict=False)}, gib * 2**30, gb * 1e9)
    for name, peaks, gib, gb in _SHEETS
)
MEASURED = Device("measured", {}, 0.0, 0.0)  # a part of this machine, whose numbers `torchsid.planner.model.this_machine` finds
_NAMED = {device.name: device for device in (*CATALOGUE, MEASURED)}
_OWN = {"flops": (NUMBER, "50T"), "memory": (BYTES, "12GiB"), "bandwidth": (BYTES_A_SECOND, "300GB/s")}


@dataclass(frozen=True)
class Link:
    """What connects a device with its neighbour, each way."""

    bandwidth: float  # bytes a second
    latency: float  # seconds

    def seconds(self, size: float) -> float:
        """Return how long a message of `size` bytes is under way: `latency + size / bandwidth`."""
        return self.latency + size / self.bandwidth


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The devices, `ranks` of a pipeline by `data` replicas, and what they train with."""

    device: Device
    link: Link
    ranks: int
    data: int
    stages: int
    batch: int  # samples of a step, over all replicas
    micro_batches: int  # of a replica's share, in the pipelines of backpropagation
    optimizer: Optimizer
    precision: Precision
    queue: int  # messages that may be under way on a link of SID
    refresh: int = 1  # steps from one refresh of a readout that heads share to the next
    parts: int = 1  # of a replica's share, which SID and full sharding take one after the other and whose gradients they add

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.ranks * self.data

    @property
    def wire(self) -> int:
        """Bytes of a number that travels."""
        return 2 if self.precision == "bfloat16" else FLOAT

    def update_bytes(self, parameters: float) -> float:
        """Return what an update moves, which memory bounds: gradient read, parameter and states read and written."""
        return FLOAT * parameters * (3 + 2 * STATES[self.optimizer])


def read_devices(text: str, problems: list[str]) -> tuple[int, Device]:
    """Return how many devices, and which: `16xH100`, `2xmeasured` or `4xflops=50T,memory=12GiB,bandwidth=300GB/s`.

    Without a bandwidth, updates take no time. What is wrong is added to the problems.
    """
    number, name = re.fullmatch(r"(?:(\d+)x)?(.*)", text.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    if not (count := int(number or 1)):
        problems.append(f"devices {text!r}: give a number of 1 or more and a name, such as 16xH100")
    if "=" in name:
        return count, _own(name, problems)
    device = next((device for known, device in _NAMED.items() if known.lower() == name.lower()), None)
    if device is None:
        problems.append(f"{unknown_name('device', name.upper(), _NAMED)}, or flops=50T,memory=12GiB")
    return count, device or MEASURED


def _own(text: str, problems: list[str]) -> Device:
    given = {key: value for key, _, value in (part.partition("=") for part in text.split(","))}
    problems += [unknown_name("setting of a device", key, _OWN) for key in given if key not in _OWN]
    problems += [f"device {text!r} lacks {key}, such as {key}={_OWN[key][1]}" for key in ("flops", "memory") if key not in given]
    values = {"flops": 0.0, "memory": 0.0, "bandwidth": float("inf")}
    for key, (units, example) in _OWN.items():
        if key in given:
            values[key] = read(key, given[key], units, problems, example=example)
    return Device(text, dict.fromkeys(PRECISIONS, values["flops"]), values["memory"], values["bandwidth"])


def read_link(bandwidth: str, latency: str, problems: list[str]) -> Link:
    """Return the link of texts such as `50GB/s` or `100Mbit/s`, and `100ms`; what is wrong is added to the problems."""
    rate = read("link", bandwidth, BYTES_A_SECOND, problems, example="50GB/s or 100Mbit/s")
    return Link(rate, read("latency", latency, SECONDS, problems, example="100ms", zero=True))
