import pytest

from torchsid.show.certificate.stages import accuracy_and_calibration, by_class, triangle

from .conftest import PartOf, SubjectOf


@pytest.mark.parametrize(
    ("answers", "title"),
    [
        ([[0, 0], [0, 1]], "Stage 1 answers 50.0\u00a0% rightly; later stages add 50.0 points"),
        ([[0, 1], [1, 1]], "Stage 1 answers 100.0\u00a0% rightly; later stages take 50.0 points"),
        ([[0, 1], [0, 1]], "Stage 1 answers 100.0\u00a0% rightly; later stages neither add nor take"),
        ([[0, 1]], "Stage 1 answers 100.0\u00a0% rightly"),
    ],
)
def test_titles_say_what_stages_add(part_of: PartOf, answers: list[list[int]], title: str) -> None:
    chapter = accuracy_and_calibration(part_of(count=2, answers=answers, truth=[0, 1]))
    assert chapter.figures["accuracy"].title == title
    assert chapter.sentences[0].startswith(title)


def test_trust_is_measured_in_points(part_of: PartOf) -> None:
    chapter = accuracy_and_calibration(part_of(count=2, answers=[[0, 0], [0, 1]], truth=[0, 1]))
    assert chapter.figures["reliability"].title == "Stage 1 trusts itself 37 points too much, stage 2 13 points too little"
    assert chapter.figures["calibration"].title == "The calibration error falls from 37.0\u00a0% to 13.0\u00a0%"


def test_of_many_classes_those_that_change_most_are_shown(part_of: PartOf, subject_of: SubjectOf) -> None:
    names = [f"class {place}" for place in range(100)]
    chapter = by_class(part_of(num_classes=100, count=400), subject_of(names))
    assert "the 20 are shown whose share changes most" in chapter.sentences[-1]
    assert len(by_class(part_of(), subject_of()).sentences) == 2


def test_the_triangle_can_be_chosen(part_of: PartOf, subject_of: SubjectOf) -> None:
    chosen = triangle(part_of(), subject_of(classes=(0, 2, 3)))
    assert chosen is not None
    assert "a, c and d, chosen on the command line" in chosen.sentences[0]
    found = triangle(part_of(), subject_of())
    assert found is not None
    assert "most often takes for each other" in found.sentences[0]
    assert "renormalised" in found.sentences[0]


def test_two_classes_have_no_triangle(part_of: PartOf, subject_of: SubjectOf) -> None:
    assert triangle(part_of(num_classes=2), subject_of("ab")) is None
