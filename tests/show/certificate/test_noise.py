import pytest

from torchsid.show.certificate.noise import wrong_labels

from .conftest import PartOf, SubjectOf


def test_found_and_memorised_are_told_apart(part_of: PartOf, subject_of: SubjectOf) -> None:
    truth = [0, 0, 0, 0, 2, 2]  # the first four are labelled 1
    part = part_of("train", count=6, answers=[[0, 0, 0, 3, 2, 2], [0, 1, 1, 3, 2, 1]], truth=truth, wrong=4)
    chapter = wrong_labels(part, subject_of())
    assert chapter is not None
    assert chapter.sentences == (
        "Of 4 wrongly labelled images 25.0\u00a0% are answered with their true class by the last stage; memorised: 50.0\u00a0%.",
        "At stage 1 it was 75.0\u00a0% and 0.0\u00a0%: later stages lose 50.0 points of true classes and memorise 50.0 points of "
        "wrong labels.",
        "Of the rightly labelled images 50.0\u00a0% are answered with their label.",
    )
    assert chapter.figures["fates"].title == "Wrongly labelled: 25\u00a0% found, 50\u00a0% memorised at stage 2"
    found, memorised = chapter.galleries
    assert found.title == "Found in spite of their label: 1 of 1, evenly spread over the split"
    assert [card.lines[1] for card in memorised.cards] == ["image 1", "image 2"]
    assert (memorised.cards[0].title, memorised.cards[0].lines[0]) == ("labelled b", "true class a")


@pytest.mark.parametrize(("wrong", "sentences"), [(0, 0), (4, 1)])
def test_only_what_is_there_is_said(part_of: PartOf, subject_of: SubjectOf, wrong: int, sentences: int) -> None:
    part = part_of("train", count=4, answers=[[0, 1, 2, 3]], truth=[0, 1, 2, 3], wrong=wrong)
    chapter = wrong_labels(part, subject_of())
    assert len(chapter.sentences if chapter else ()) == sentences  # of one stage, without rightly labelled images
    assert len(chapter.galleries if chapter else ()) == bool(wrong)
