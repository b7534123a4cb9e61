import json

import pytest

from torchsid.errors import ConfigError
from torchsid.planner.units import BYTES, BYTES_A_SECOND, NUMBER, SECONDS, Bytes, Count, Seconds, Share, read


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("50GB/s", BYTES_A_SECOND, 50e9),
        ("100Mbit/s", BYTES_A_SECOND, 12.5e6),
        ("1.5 GiB/s", BYTES_A_SECOND, 1.5 * 2**30),
        ("100ms", SECONDS, 0.1),
        ("50T", NUMBER, 50e12),
        ("5e10", NUMBER, 5e10),
        ("12GiB", BYTES, 12 * 2**30),
        (".5GB", BYTES, 5e8),
    ],
)
def test_quantities_are_read_in_their_base_unit(text: str, units: dict[str, float], value: float) -> None:
    assert read("it", text, units, example="1") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["fast", "50Gb/s", "-1GB/s", "50", "0GB/s"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read("link", text, BYTES_A_SECOND, example="50GB/s")
    assert read("latency", "0s", SECONDS, example="1s", zero=True) == 0


def test_quantities_are_written_with_the_largest_unit_that_keeps_one_and_stay_numbers() -> None:
    assert list(map(str, (Bytes(0), Bytes(1023), Bytes(1024), Bytes(3 * 2**29)))) == ["0 B", "1023 B", "1.00 KiB", "1.50 GiB"]
    assert list(map(str, (Seconds(2e-6), Seconds(0.0123), Seconds(90)))) == ["2.00 us", "12.30 ms", "90.00 s"]
    assert (str(Count(1234567)), str(Share(0.743))) == ("1,234,567", "74.3 %")
    assert json.dumps([Bytes(1024), Share(0.5)]) == "[1024.0, 0.5]"
