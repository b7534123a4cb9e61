import pytest

from torchsid.errors import ConfigError
from torchsid.planner.devices import CATALOGUE, Link, read_devices, read_link


@pytest.mark.parametrize("device", CATALOGUE.values(), ids=lambda device: device.name)
def test_less_precision_is_no_slower(device: object) -> None:
    peaks = list(device.flops.values())  # type: ignore[attr-defined]
    assert peaks == sorted(peaks)
    assert 1e12 < peaks[0] < 1e15


def test_a_device_of_the_catalogue() -> None:
    count, device = read_devices("16xh100")
    assert (count, device.name, device.flops["bfloat16"], device.memory) == (16, "H100", 989e12, 80 * 2**30)
    assert read_devices("A100")[0] == 1


def test_an_own_device() -> None:
    count, device = read_devices("2xflops=50G,memory=12GiB,bandwidth=20GB/s")
    assert (count, device.flops["float32"], device.memory, device.bandwidth) == (2, 50e9, 12 * 2**30, 20e9)
    assert read_devices("flops=1T,memory=1GB")[1].bandwidth == float("inf")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("16xH1000", ["unknown device 'H1000' (did you mean 'H100'?)"]),
        ("0xQ9", ["give a number of 1 or more", "unknown device 'Q9'"]),
        ("flops=fast,memry=1GB", ["flops 'fast': give a number", "(did you mean 'memory'?)", "lacks memory, such as memory=12GiB"]),
        ("flops=0,memory=1GB", ["flops '0': give more than 0"]),
    ],
)
def test_other_devices_are_refused_with_all_problems(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        read_devices(text)
    assert len(error.value.problems) == len(problems)
    assert all(part in problem for part, problem in zip(problems, error.value.problems, strict=True))


def test_a_link() -> None:
    assert read_link("100Mbit/s", "100ms") == Link(12.5e6, 0.1)
    assert Link(1e6, 0.5).seconds(2e6) == 2.5
    with pytest.raises(ConfigError) as error:
        read_link("quick", "soon")
    assert len(error.value.problems) == 2
    with pytest.raises(ConfigError, match="give more than 0"):
        read_link("0GB/s", "1ms")
