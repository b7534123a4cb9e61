import re
import sys
import warnings
from xml.etree import ElementTree

import pytest

from torchsid.errors import MissingPackageError
from torchsid.show.svg import INK, SERIES, Drawing, canvas, finish, standalone


def drawn(text: str = "text", title: str = "A title") -> Drawing:
    with canvas(300, 200) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SERIES[0], marker="o")
        axes.text(0.5, 0.5, text, color=INK)
        return finish(figure, title, 'more than "this" & <that>')


def test_colours_come_from_the_page() -> None:
    svg = drawn().svg
    assert {"var(--s1)", "var(--rule)", "currentColor"} <= set(re.findall(r"var\(--\w+\)|currentColor", svg))
    assert not re.findall(r"#0[0-9a-f]{5}", svg)
    assert "font-family" not in svg


def test_the_drawing_is_an_element_with_a_label_and_no_size() -> None:
    root = ElementTree.fromstring(drawn().svg)
    assert root.attrib["aria-label"] == 'A title. more than "this" & <that>'
    assert root.attrib["viewBox"] == "0 0 300 200"
    assert "width" not in root.attrib


@pytest.mark.parametrize("text", ["a <b> & $x^{ é 猫", 'font-family: x" id="m" url(#p) <!-- #010101 <metadata>'])
def test_text_stays_text(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # glyphs that matplotlib lacks are none of the reader's business
        svg = drawn(text).svg
    assert text in [element.text for element in ElementTree.fromstring(svg).iter("text")]


def test_two_drawings_share_no_identifiers_and_find_their_own() -> None:
    first, second = drawn(title="One").svg, drawn(title="Two").svg
    found = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert found[0]
    assert not found[0] & found[1]
    for svg, ids in zip((first, second), found, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg)) == ids


def test_a_file_holds_drawings_one_below_the_other_in_colours_of_its_own() -> None:
    text = standalone(drawn(title="A title & more, in more words than fit into one line"), drawn("a <b> & c"))
    root = ElementTree.fromstring(text)
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a <b> & c" in texts
    assert " ".join(texts).startswith("A title & more, in more words than fit into one line")
    assert not re.search(r"var\(|currentColor|#0[0-9a-f]0{3}\d", text)
    assert float(root.attrib["viewBox"].split()[3]) > 400
    style, _, body = text.partition("</style>")
    assert "prefers-color-scheme: dark" in style
    assert all(f'[fill="{colour}"]' in style for colour in re.findall(r"#[0-9a-f]{6}(?=[;\"])", body))  # by night there is another


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'torchsid\[report\]'"), canvas(10, 10):
        pass
