import numpy as np
import pytest

from torchsid.show.figures.by_class import class_heat, failing_bars, shown_classes


def test_a_cell_a_class_and_stage() -> None:
    found = class_heat(np.array([[0.5, 0.91], [0.8, 0.92]]), ["cat", "<dog>"])
    assert found.title == "Class cat changes most: 50\u00a0% at stage 1, 80\u00a0% at stage 2"
    assert all(f">{share}</text>" in found.svg for share in (50, 91, 80, 92))
    assert ">&lt;dog&gt;</text>" in found.svg


@pytest.mark.parametrize(
    ("accuracy", "title"),
    [
        ([[0.5, 0.9]], "Class a is the hardest: 50\u00a0% answered rightly"),
        ([[0.5, 0.9], [0.6, 0.8], [0.5, 0.9]], "The last stage answers every class as rightly as stage 1"),
        ([[0.5, np.nan], [0.4, np.nan]], "Class a changes most: 50\u00a0% at stage 1, 40\u00a0% at stage 2"),
    ],
)
def test_titles(accuracy: list[list[float]], title: str) -> None:
    assert class_heat(np.array(accuracy), "ab").title == title


def test_deep_cascades_and_many_classes_are_thinned_out() -> None:
    accuracy = np.linspace(0, 1, 64)[:, None] * np.linspace(0, 1, 100)
    assert shown_classes(accuracy) == list(range(80, 100))
    found = class_heat(accuracy, [f"class {place}" for place in range(100)])
    assert ">class 99</text>" in found.svg
    assert ">class 79</text>" not in found.svg
    assert all(f">{stage}</text>" in found.svg for stage in (1, 64))
    assert found.svg.count("<text") < 20 * 16 + 60


def test_bars_count_the_failing_images() -> None:
    found = failing_bars(np.array([1, 30, 0]), np.array([50, 40, 0]), ["cat", "dog", "eel"])
    assert found.title == "Class dog fails most often: 75\u00a0% of its images have a rise"
    assert "Of class cat it is 2\u00a0%" in found.svg
    assert ">30 of 40</text>" in found.svg
    assert "eel" not in found.svg
