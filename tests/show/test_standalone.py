import re
from xml.etree import ElementTree

from torchsid.show.standalone import standalone
from torchsid.show.svg import SERIES, canvas, finish


def test_the_file_stands_alone() -> None:
    with canvas(300, 200) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=SERIES[0])
        axes.text(0.5, 0.5, "a <b> & c")
        text = standalone(finish(figure, "A title & more", "Described"))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["viewBox"] == "0 -28 300 228"
    assert root.attrib["aria-label"] == "A title & more. Described"
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "A title & more"
    assert "a <b> & c" in texts
    assert "var(" not in text
    assert "currentColor" not in text
    assert "#0072b2" in text
    assert not re.findall(r"#0[0-9a-f]0{3}\d", text)


def test_a_long_title_takes_several_lines() -> None:
    with canvas(300, 200) as (figure, _):
        text = standalone(finish(figure, "A title that says what is seen, in more words than fit", "Described"))
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"] == "0 -46 300 246"
    lines = [element for element in root.iter("{http://www.w3.org/2000/svg}text") if element.get("font-weight") == "bold"]
    assert [line.text for line in lines] == ["A title that says what is seen, in more", "words than fit"]
    assert [line.get("y") for line in lines] == ["-27", "-9"]
