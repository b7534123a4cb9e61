"""What computes and what connects: a catalogue of devices, own ones by their numbers, and the link between them. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.units import BYTES, BYTES_A_SECOND, COUNT, SECONDS, read

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
CATALOGUE = {
    device.name.lower(): device
    for device in (
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
}


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


def read_devices(text: str) -> tuple[int, Device]:
    """Return how many devices, and which: `16xH100`, `2xmeasured` or `4xflops=50T,memory=12GiB,bandwidth=300GB/s`.

    A `measured` device has no numbers yet; see `torchsid.planner.measure.this_machine`.

    Raises:
        ConfigError: the text says something else; names all problems.
    """
    found = re.fullmatch(r"(?:(\d+)x)?(.+)", text.strip())
    count, name = (int(found[1] or 1), found[2]) if found else (0, text)
    problems = [] if count else [f"devices {text!r}: give a number of 1 or more and a name, such as 16xH100"]
    device = CATALOGUE.get(name.lower())
    if name.lower() == MEASURED:
        device = Device(MEASURED, {}, 0.0, 0.0)
    elif "=" in name:
        try:
            device = _own(name)
        except ConfigError as error:
            problems += error.problems
    elif device is None:
        known = [device.name for device in CATALOGUE.values()]
        problems.append(f"{unknown_name('device', name.upper(), [*known, MEASURED])}, or flops=50T,memory=12GiB")
    if problems:
        raise ConfigError(problems, source="devices")
    assert device is not None
    return count, device


def read_link(bandwidth: str, latency: str) -> Link:
    """Return the link of texts such as `50GB/s` or `100Mbit/s`, and `100ms`.

    Raises:
        ConfigError: a text says something else; names all problems.
    """
    values: list[float] = []
    problems: list[str] = []
    for what, text, units, example in (
        ("link", bandwidth, BYTES_A_SECOND, "50GB/s or 100Mbit/s"),
        ("latency", latency, SECONDS, "100ms"),
    ):
        try:
            values.append(read(what, text, units, example=example))
        except ConfigError as error:
            problems += error.problems
    if not problems and not values[0]:
        problems.append(f"link {bandwidth!r}: give more than 0")
    if problems:
        raise ConfigError(problems, source="link")
    return Link(*values)


def _own(text: str) -> Device:
    """Return the device of `flops=…,memory=…[,bandwidth=…]`; without a bandwidth its updates take no time."""
    kinds = {"flops": (COUNT, "50T"), "memory": (BYTES, "12GiB"), "bandwidth": (BYTES_A_SECOND, "300GB/s")}
    values: dict[str, float] = {}
    problems = []
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in kinds:
            problems.append(unknown_name("setting of a device", key, kinds))
            continue
        units, example = kinds[key]
        try:
            values[key] = read(key, value, units, example=example)
        except ConfigError as error:
            problems += error.problems
        else:
            if not values[key]:
                problems.append(f"{key} {value!r}: give more than 0")
    named = {part.partition("=")[0] for part in text.split(",")}
    problems += [f"device {text!r} lacks {key}, such as {key}={kinds[key][1]}" for key in ("flops", "memory") if key not in named]
    if problems:
        raise ConfigError(problems, source="device")
    peaks: dict[Precision, float] = dict.fromkeys(PRECISIONS, values["flops"])
    return Device(text, peaks, values["memory"], values.get("bandwidth", float("inf")))
