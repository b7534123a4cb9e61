import pytest

from torchsid.errors import ConfigError
from torchsid.planner.units import BYTES, BYTES_A_SECOND, COUNT, SECONDS, in_bytes, in_seconds, read


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("50GB/s", BYTES_A_SECOND, 50e9),
        ("100Mbit/s", BYTES_A_SECOND, 12.5e6),
        ("1.5 GiB/s", BYTES_A_SECOND, 1.5 * 2**30),
        ("100ms", SECONDS, 0.1),
        ("10us", SECONDS, 1e-5),
        ("0s", SECONDS, 0.0),
        ("50T", COUNT, 50e12),
        ("5e10", COUNT, 5e10),
        ("12GiB", BYTES, 12 * 2**30),
        ("12G", BYTES, 12e9),
        (".5GB", BYTES, 5e8),
    ],
)
def test_quantities_are_read_in_their_base_unit(text: str, units: dict[str, float], value: float) -> None:
    assert read("it", text, units, example="1") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", r"link 'fast': give a number and its unit, such as 50GB/s"),
        ("50Gb/s", r"link '50Gb/s': unknown unit 'Gb/s' \(did you mean 'Gbit/s'\?\)"),
        ("-1GB/s", "give a number"),
        ("50", "unknown unit ''"),
    ],
)
def test_what_is_no_quantity(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read("link", text, BYTES_A_SECOND, example="50GB/s")


def test_quantities_are_written_with_the_largest_unit_that_keeps_one() -> None:
    assert [in_bytes(size) for size in (0, 1023, 1024, 3 * 2**29, 5 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.00 KiB",
        "1.50 GiB",
        "5.00 TiB",
    ]
    assert [in_seconds(time) for time in (0, 2e-6, 0.0123, 90)] == ["0.00 us", "2.00 us", "12.30 ms", "90.00 s"]
