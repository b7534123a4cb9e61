import re
import sys
import warnings
from xml.etree import ElementTree

import pytest

from torchsid.errors import RunError
from torchsid.show.svg import INK, SERIES, Drawing, canvas, finish, series


def drawn(text: str = "text", title: str = "A title") -> Drawing:
    with canvas(300, 200) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SERIES[0], marker="o")
        axes.text(0.5, 0.5, text, color=INK)
        return finish(figure, title, 'more than "this" & <that>')


def test_colours_come_from_the_page() -> None:
    svg = drawn().svg
    assert "var(--s1)" in svg
    assert "var(--rule)" in svg
    assert "currentColor" in svg
    assert not re.findall(r"#0[0-9a-f]{5}", svg)


def test_the_drawing_is_an_element_with_a_label_and_no_size() -> None:
    root = ElementTree.fromstring(drawn().svg)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == 'A title. more than "this" & <that>'
    assert root.attrib["viewBox"] == "0 0 300 200"
    assert "width" not in root.attrib


def test_text_stays_text_in_the_typeface_of_the_page() -> None:
    svg = drawn("a <b> & $x^{ é").svg
    texts = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert "a <b> & $x^{ é" in texts
    assert "font-family" not in svg


def test_a_name_that_imitates_markup_stays_text() -> None:
    hostile = 'font-family: x" id="m" url(#p) <!-- #010101 <metadata>'
    texts = [element.text for element in ElementTree.fromstring(drawn(hostile).svg).iter("text")]
    assert hostile in texts


def test_two_drawings_share_no_identifiers_and_find_their_own() -> None:
    first, second = drawn(title="One").svg, drawn(title="Two").svg
    found = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert found[0]
    assert not found[0] & found[1]
    for svg, ids in zip((first, second), found, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg)) == ids


def test_drawing_is_reproducible_and_loads_nothing() -> None:
    assert drawn() == drawn()
    assert "http" not in drawn().svg


def test_glyphs_that_matplotlib_lacks_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "猫" in drawn("猫").svg


def test_series_repeat_their_colours_with_other_lines() -> None:
    assert len({series(index) for index in range(3 * len(SERIES))}) == 3 * len(SERIES)
    assert series(len(SERIES)) == (SERIES[0], "--")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RunError, match=r"pip install 'torchsid\[report\]'"), canvas(10, 10):
        pass
