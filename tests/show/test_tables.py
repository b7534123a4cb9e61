import pytest

from torchsid.show.tables import Cell, duration, minus, number, percent, resolved, shortened, table


def test_plain_lines_keep_marks_and_details() -> None:
    found = table(["method", "difference"], [["SID", Cell("+1.0", "0.5 to 1.5", "▲")], [Cell("BP", "seed 0"), "–"]])
    assert found.lines() == [["SID", "+1.0 ▲\n0.5 to 1.5"], ["BP\nseed 0", "–"]]


@pytest.mark.parametrize(
    ("interval", "mark"), [((0.5, 1.5), "▲"), ((-1.5, -0.5), "▼"), ((-0.1, 2.1), ""), ((0.0, 2.0), ""), ((None, None), "")]
)
def test_a_difference_is_marked_where_its_interval_excludes_zero(interval: tuple[float, float], mark: str) -> None:
    low, high = interval
    assert resolved(-1 if mark == "▼" else 1, low, high) == mark


def test_numbers_read_as_people_write_them() -> None:
    assert [number(value) for value in (1234.5, 0.01234, -2.0, float("nan"), float("inf"))] == [
        "1,234",
        "0.0123",
        "−2.00",
        "unknown",
        "infinite",
    ]
    assert (percent(0.9722), percent(-0.5, 0), percent(float("nan"))) == ("97.22\u00a0%", "−50\u00a0%", "unknown")
    assert (number(1.39, "+"), number(-0.5, "+"), number(1234, "+"), minus("-0.50")) == ("+1.39", "−0.500", "+1,234", "−0.50")
    assert [duration(seconds) for seconds in (8.4, 200, 7500)] == ["8.4 s", "3 min 20 s", "2 h 05 min"]
    assert (shortened("chimpanzee", 6), shortened("cat", 6)) == ("chi…ee", "cat")
