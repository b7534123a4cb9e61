from xml.etree import ElementTree

import numpy as np

from torchsid.show.figures.confusion import Confused, confusion_matrix, most_confused

NAMES = ("cat", "dog", "eel")
CONFUSION = np.array([[8, 2, 0], [5, 4, 1], [0, 0, 7]])


def texts(svg: str) -> list[str]:
    return [str(element.text) for element in ElementTree.fromstring(svg).iter("text")]


def test_most_confused_is_ordered_and_leaves_out_what_never_happened() -> None:
    assert most_confused(CONFUSION, NAMES) == [
        Confused("dog", "cat", 5, 0.5),
        Confused("cat", "dog", 2, 0.2),
        Confused("dog", "eel", 1, 0.1),
    ]
    assert len(most_confused(CONFUSION, NAMES, limit=2)) == 2
    assert most_confused(np.diag([3, 3, 3]), NAMES) == []


def test_few_classes_are_annotated_where_there_is_something() -> None:
    drawing = confusion_matrix(CONFUSION, NAMES, "SID")
    found = texts(drawing.svg)
    assert sorted(text for text in found if text.isdigit()) == ["1", "2", "4", "5", "7", "8"]
    assert found.count("dog") == 2
    assert "19 of 27 right" in drawing.svg


def test_many_classes_are_one_picture() -> None:
    drawing = confusion_matrix(np.eye(30, dtype=np.int64), [str(k) for k in range(30)], "SID")
    assert "data:image/png;base64" in drawing.svg
    assert texts(drawing.svg) == ["answer", "true class"]


def test_a_class_without_samples_is_drawn() -> None:
    assert "4 of 4 right" in confusion_matrix(np.diag([4, 0]), NAMES[:2], "SID").svg
