from xml.etree import ElementTree

from torchsid.show.figures.heat import GOOD, cell, name_ticks, square
from torchsid.show.svg import canvas, finish


def drawn(opacity: float, names: list[str]) -> str:
    with canvas(200, 200) as (figure, axes):
        square(axes, len(names))
        cell(axes, 0, 1, GOOD, opacity, "12")
        name_ticks(axes, names)
        return finish(figure, "Heat", "map").svg


def number(svg: str) -> ElementTree.Element:
    return next(element for element in ElementTree.fromstring(svg).iter("text") if element.text == "12")


def test_numbers_can_be_read_on_faint_and_on_strong_cells() -> None:
    assert "currentColor" in number(drawn(0.2, ["a", "b"])).attrib["style"]
    assert "var(--paper)" in number(drawn(0.9, ["a", "b"])).attrib["style"]


def test_long_names_are_cut_and_turned() -> None:
    svg = drawn(0.5, ["a" * 30, "b"])
    assert svg.count("a" * 13 + "…") == 2
    assert "rotate(-45" in svg
    assert "rotate(-45" not in drawn(0.5, ["a", "b"])
