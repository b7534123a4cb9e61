import json

import pytest

from torchsid.planner import devices
from torchsid.planner.devices import Device, Link, read, read_devices, read_link


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("50GB/s", devices.BYTES_A_SECOND, 50e9),
        ("100Mbit/s", devices.BYTES_A_SECOND, 12.5e6),
        ("1.5 GiB/s", devices.BYTES_A_SECOND, 1.5 * 2**30),
        ("100ms", devices.SECONDS, 0.1),
        ("50T", devices.NUMBER, 50e12),
        ("5e10", devices.NUMBER, 5e10),
        ("12GiB", devices.BYTES, 12 * 2**30),
        (".5GB", devices.BYTES, 5e8),
    ],
)
def test_quantities_are_read_in_their_base_unit(text: str, units: dict[str, float], value: float) -> None:
    problems: list[str] = []
    assert read("it", text, units, problems, example="1") == pytest.approx(value, rel=1e-12)
    assert not problems


@pytest.mark.parametrize("text", ["fast", "50Gb/s", "-1GB/s", "50", "0GB/s", ""])
def test_what_is_no_quantity_is_a_problem(text: str) -> None:
    problems: list[str] = []
    read("link", text, devices.BYTES_A_SECOND, problems, example="50GB/s")
    assert len(problems) == 1
    assert repr(text) in problems[0]


def test_quantities_are_written_with_the_largest_unit_that_keeps_one_and_stay_numbers() -> None:
    size, seconds = devices.Bytes, devices.Seconds
    assert list(map(str, (size(0), size(1023), size(1024), size(3 * 2**29)))) == ["0 B", "1023 B", "1.00 KiB", "1.50 GiB"]
    durations = ["2.00 us", "12.30 ms", "5.00 s", "90.00 min"]
    assert list(map(str, (seconds(2e-6), seconds(0.0123), seconds(5), seconds(5400)))) == durations
    assert (str(devices.Count(1234567)), str(devices.Share(0.743))) == ("1,234,567", "74.3 %")
    assert json.dumps([size(1024), devices.Share(0.5)]) == "[1024.0, 0.5]"


@pytest.mark.parametrize("device", devices.CATALOGUE, ids=lambda device: device.name)
def test_less_precision_is_no_slower(device: Device) -> None:
    peaks = list(device.flops.values())
    assert peaks == sorted(peaks)
    assert 1e12 < peaks[0] < 1e15
    assert read_devices(f"3x{device.name.lower()}", []) == (3, device)


def test_an_own_device() -> None:
    count, device = read_devices("2xflops=50G,memory=12GiB,bandwidth=20GB/s", [])
    assert (count, device.flops["float32"], device.memory, device.bandwidth) == (2, 50e9, 12 * 2**30, 20e9)
    assert read_devices("flops=1T,memory=1GB", [])[1].bandwidth == float("inf")


@pytest.mark.parametrize(
    ("text", "count", "hint"),
    [
        ("16xH1000", 1, "'H100'"),
        ("0xQ9", 2, "1 or more"),
        ("flops=fast,memry=1GB", 3, "'memory'"),
        ("flops=0,memory=1GB", 1, "more than 0"),
        ("", 1, "H100"),
    ],
)
def test_other_devices_are_refused_with_all_problems(text: str, count: int, hint: str) -> None:
    problems: list[str] = []
    read_devices(text, problems)
    assert len(problems) == count
    assert hint in str(problems)


def test_a_link() -> None:
    problems: list[str] = []
    assert read_link("100Mbit/s", "0s", problems) == Link(12.5e6, 0.0)
    assert Link(1e6, 0.5).seconds(2e6) == 2.5
    assert not problems
    read_link("quick", "soon", problems)
    assert len(problems) == 2
