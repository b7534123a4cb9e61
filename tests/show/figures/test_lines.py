import re

import numpy as np

from torchsid.show.figures.lines import StageLine, lines_by_stage


def test_lines_are_named_and_their_ends_told() -> None:
    found = lines_by_stage("A title", [StageLine("one", [1.0, 2.5]), StageLine("two", [4, 3, 2], 0)], unit="nats")
    assert found.title == "A title"
    assert ">one</text>" in found.svg
    assert ">prior</text>" in found.svg
    assert "one ends at 2.50 nats; two ends at 2.00 nats" in found.svg


def test_what_is_not_finite_is_left_out() -> None:
    values = [1.0, np.nan, np.inf, 2.0]
    found = lines_by_stage("A title", [StageLine("one", values)], unit="%")
    assert "nan" not in re.sub(r'aria-label="[^"]*"', "", found.svg).lower()


def test_a_single_stage_and_many() -> None:
    assert "<use" in lines_by_stage("t", [StageLine("one", [1.0])], unit="%").svg
    many = lines_by_stage("t", [StageLine(name, list(range(64))) for name in "abc"], unit="%").svg
    assert all(f">{name}</text>" in many for name in "abc")
