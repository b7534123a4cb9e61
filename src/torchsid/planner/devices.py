"""What computes and what connects: a catalogue of devices, own ones by their numbers, and the link between them. Needs no torch."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.units import BYTES, BYTES_A_SECOND, NUMBER, SECONDS, read

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MEASURED = "measured"


@dataclass(frozen=True)
class Device:
    """One device."""

    name: str
    flops: Mapping[Precision, float]
    """Peak FLOP/s of dense matrix products in each precision that it has."""
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second between processor and memory, which bounds the optimiser's update."""


def _device(name: str, fp32: float, tf32: float | None, bf16: float | None, gib: float, gb_a_second: float) -> Device:
    peaks: dict[Precision, float | None] = {"float32": fp32, "tf32": tf32, "bfloat16": bf16}
    return Device(name, {key: 1e12 * peak for key, peak in peaks.items() if peak}, gib * 2**30, gb_a_second * 1e9)


# The makers' data sheets: TFLOP/s without sparsity (float32, tf32, bfloat16), memory in GiB as the driver reports it, GB/s.
CATALOGUE = (
    _device("V100", 15.7, None, None, 32, 900),  # SXM2
    _device("A100", 19.5, 156, 312, 80, 2039),  # SXM, 80 GB
    _device("H100", 67, 494.5, 989, 80, 3350),  # SXM
    _device("H200", 67, 494.5, 989, 140, 4800),  # SXM
    _device("B200", 75, 1125, 2250, 179, 8000),  # HGX
    _device("MI300X", 163.4, 653.7, 1307, 192, 5300),
    _device("L4", 30.3, 60, 121, 22, 300),
    _device("L40S", 91.6, 183, 362, 45, 864),
    _device("RTX3090", 35.6, 35.6, 71, 24, 936),
    _device("RTX4090", 82.6, 82.6, 165, 24, 1008),
)
_NAMED = {device.name: device for device in (*CATALOGUE, Device(MEASURED, {}, 0.0, 0.0))}
_SETTINGS = {"flops": (NUMBER, "50T"), "memory": (BYTES, "12GiB"), "bandwidth": (BYTES_A_SECOND, "300GB/s")}  # of an own device


@dataclass(frozen=True)
class Link:
    """What connects a device with its neighbour, each way."""

    bandwidth: float
    """Bytes a second."""
    latency: float
    """Seconds."""

    def seconds(self, size: float) -> float:
        """Return how long a message of `size` bytes is under way: `latency + size / bandwidth`."""
        return self.latency + size / self.bandwidth


@contextmanager
def collecting(problems: list[str], *, source: str | None = None) -> Iterator[None]:
    """Add the problems of a ConfigError to those found before; with a source, raise all of them at the end, if there are any."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems
    if source and problems:
        raise ConfigError(problems, source=source)


def read_devices(text: str) -> tuple[int, Device]:
    """Return how many devices, and which: `16xH100`, `2xmeasured` or `4xflops=50T,memory=12GiB,bandwidth=300GB/s`.

    A `measured` device has no numbers yet; see `torchsid.planner.measure.this_machine`. Without a bandwidth, updates take no time.

    Raises:
        ConfigError: the text says something else; names all problems.
    """
    number, name = re.fullmatch(r"(?:(\d+)x)?(.*)", text.strip(), flags=re.DOTALL).groups()  # type: ignore[union-attr]
    count = int(number or 1)
    problems = [] if count else [f"devices {text!r}: give a number of 1 or more and a name, such as 16xH100"]
    device = next((device for known, device in _NAMED.items() if known.lower() == name.lower()), None)
    with collecting(problems, source="devices"):
        if "=" in name:
            device = _own(name)
        elif device is None:
            raise ConfigError([f"{unknown_name('device', name.upper(), _NAMED)}, or flops=50T,memory=12GiB"])
    assert device is not None
    return count, device


def _own(text: str) -> Device:
    given = {key: value for key, _, value in (part.partition("=") for part in text.split(","))}
    problems = [unknown_name("setting of a device", key, _SETTINGS) for key in given if key not in _SETTINGS]
    problems += [
        f"device {text!r} lacks {key}, such as {key}={_SETTINGS[key][1]}" for key in ("flops", "memory") if key not in given
    ]
    values = {"bandwidth": float("inf")}
    for key in filter(given.__contains__, _SETTINGS):
        units, example = _SETTINGS[key]
        with collecting(problems):
            values[key] = read(key, given[key], units, example=example)
    if problems:
        raise ConfigError(problems, source="device")
    return Device(text, dict.fromkeys(PRECISIONS, values["flops"]), values["memory"], values["bandwidth"])


def read_link(bandwidth: str, latency: str) -> Link:
    """Return the link of texts such as `50GB/s` or `100Mbit/s`, and `100ms`.

    Raises:
        ConfigError: a text says something else; names all problems.
    """
    problems: list[str] = []
    rate = delay = 0.0
    with collecting(problems):
        rate = read("link", bandwidth, BYTES_A_SECOND, example="50GB/s or 100Mbit/s")
    with collecting(problems, source="link"):
        delay = read("latency", latency, SECONDS, example="100ms", zero=True)
    return Link(rate, delay)
