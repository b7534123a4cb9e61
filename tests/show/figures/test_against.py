import pytest

from torchsid.show.figures.against import Line, Mark, Scale, against
from torchsid.study.statistics import Interval

DEPTHS = Scale.of("stages L", ["2", "4", "16"], [2, 4, 16], log=True)
SID = Line("SID", [Mark(1.0, Interval(90.0, 88.0, 92.0, 3)), Mark(2.0, Interval(95.0, 94.0, 96.0, 3))])
FLAT = Line("BP <plain>", [], Interval(93.0, 92.0, 94.0, 3))


def test_scales() -> None:
    assert DEPTHS.places == {"2": 1.0, "4": 2.0, "16": 4.0}
    assert Scale.of("α", ["0", "0.5"], [0.0, 0.5], log=True).places == {"0": 0.0, "0.5": 0.5}  # 0 has no logarithm
    named = Scale.of("rule", ["sum", "mean"], None)
    assert (named.places, named.joined) == ({"sum": 0.0, "mean": 1.0}, False)
    assert Scale.of("L", ["7"], [7.0]).span == (6.5, 7.5)


def test_the_drawing_can_be_read_out_and_names_its_lines() -> None:
    drawing = against("accuracy, %", DEPTHS, [SID, FLAT])
    assert drawing.title == "Accuracy, %, against stages L"
    assert "SID: 90.0 at 2, 95.0 at 4; BP &lt;plain&gt;: 93.0 throughout" in drawing.svg
    assert drawing.svg.count(">SID</text>") == drawing.svg.count(">BP &lt;plain&gt;</text>") == 1
    assert all(f">{value}</text>" in drawing.svg for value in ("2", "4", "16"))
    assert "var(--s1)" in drawing.svg
    assert "var(--s2)" in drawing.svg


@pytest.mark.parametrize("numbers", [[0.01, 0.011, 1.0], None])
def test_crowded_values_share_a_text(numbers: list[float] | None) -> None:
    drawing = against("accuracy, %", Scale.of("α", ["0.01", "0.011", "1"], numbers), [FLAT])
    assert (">0.011</text>" in drawing.svg) == (numbers is None)


def test_a_method_without_marks_is_left_out() -> None:
    assert ">gone</text>" not in against("kl", DEPTHS, [SID, Line("gone", [])]).svg


def test_more_methods_than_colours_have_a_legend_and_hollow_marks() -> None:
    marks = [Mark(1.0, Interval(90.0, None, None, 1))]
    few, many = (against("kl", DEPTHS, [Line(f"method {n}", marks) for n in range(count)]).svg for count in (5, 8))
    assert all(many.count(f">method {n}</text>") == 1 for n in range(8))
    assert "fill: var(--paper)" in many
    assert "fill: var(--paper)" not in few


def test_long_names_below_the_axis_are_broken() -> None:
    names = ["symmetric 20 %", "symmetric 40 %", "asymmetric 40 %", "the worst of three people", "none"]
    svg = against("kl", Scale.of("noise", names, None), [FLAT]).svg
    assert ">symmetric</text>" in svg
    assert ">none</text>" in svg
