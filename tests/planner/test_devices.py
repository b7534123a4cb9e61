import pytest

from torchsid.errors import ConfigError
from torchsid.planner.devices import CATALOGUE, Device, Link, read_devices, read_link


@pytest.mark.parametrize("device", CATALOGUE, ids=lambda device: device.name)
def test_less_precision_is_no_slower(device: Device) -> None:
    peaks = list(device.flops.values())
    assert peaks == sorted(peaks)
    assert 1e12 < peaks[0] < 1e15
    assert read_devices(f"3x{device.name.lower()}") == (3, device)


def test_an_own_device() -> None:
    count, device = read_devices("2xflops=50G,memory=12GiB,bandwidth=20GB/s")
    assert (count, device.flops["float32"], device.memory, device.bandwidth) == (2, 50e9, 12 * 2**30, 20e9)
    assert read_devices("flops=1T,memory=1GB")[1].bandwidth == float("inf")


@pytest.mark.parametrize(
    ("text", "problems", "hint"),
    [
        ("16xH1000", 1, "'H100'"),
        ("0xQ9", 2, "1 or more"),
        ("flops=fast,memry=1GB", 3, "'memory'"),
        ("flops=0,memory=1GB", 1, "more than 0"),
        ("", 1, "H100"),
    ],
)
def test_other_devices_are_refused_with_all_problems(text: str, problems: int, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint) as error:
        read_devices(text)
    assert len(error.value.problems) == problems


def test_a_link() -> None:
    assert read_link("100Mbit/s", "100ms") == Link(12.5e6, 0.1)
    assert Link(1e6, 0.5).seconds(2e6) == 2.5
    with pytest.raises(ConfigError) as error:
        read_link("quick", "soon")
    assert len(error.value.problems) == 2
