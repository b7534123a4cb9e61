from torchsid.show.certificate.images import failures, flips, rivers

from .conftest import PartOf, SubjectOf


def test_failures_are_shown_the_largest_rise_first(part_of: PartOf, subject_of: SubjectOf) -> None:
    part = part_of()
    chapter = failures(part, subject_of())
    (gallery,) = chapter.galleries
    assert gallery.title == "The 12 images with the largest rise"
    rises = [float(card.lines[0].partition("+")[2].removesuffix(" nats")) for card in gallery.cards]
    assert rises == sorted(rises, reverse=True)
    every = [rise for stage in part.certificate.stages for rise in stage.failures.rises]
    assert rises[0] == float(f"{max(every):#.3g}")
    images = {place for stage in part.certificate.stages for place in stage.failures.samples}
    assert chapter.sentences[0].startswith(f"KL to the label rises at some stage for {len(images)} of 40 test images")
    assert f"Half of the {len(every)} rises" in chapter.sentences[1]


def test_a_failure_is_told_in_words(part_of: PartOf, subject_of: SubjectOf) -> None:
    part = part_of(count=2, answers=[[1, 1], [0, 1]], truth=[1, 1])
    (gallery,) = failures(part, subject_of()).galleries
    (card,) = gallery.cards
    assert gallery.title == "The one image with the largest rise"
    assert card.title == "true class b"
    assert card.lines == (
        "image 0, stage 2: +3.00 nats",
        "before: b at 87\u00a0%",
        "after: a at 87\u00a0%, b at 4\u00a0%",
    )
    part = part_of(count=1, answers=[[0]], truth=[1])
    assert failures(part, subject_of()).galleries[0].cards[0].lines[1] == "before: the prior, b at 25\u00a0%"


def test_without_failures_there_is_nothing_to_show(part_of: PartOf, subject_of: SubjectOf) -> None:
    chapter = failures(part_of(count=4, answers=[[0, 1, 2, 3]] * 2, truth=[0, 1, 2, 3]), subject_of())
    assert chapter.sentences == ("Nowhere: KL rises at no stage for any of the 4 test images.",)
    assert not chapter.figures
    assert not chapter.galleries


def test_late_flips_are_counted_by_what_they_do(part_of: PartOf, subject_of: SubjectOf) -> None:
    answers = [[0, 1, 2, 3, 0], [0, 1, 1, 3, 0], [0, 0, 1, 0, 1]]
    chapter = flips(part_of(count=5, answers=answers, truth=[0, 0, 2, 0, 3]), subject_of())
    assert chapter is not None
    assert chapter.sentences[0] == (
        "For 4 images of 5 (80.0\u00a0%) the answer changes after stage 1. "
        "The last flip corrects 2, spoils 1 and replaces one wrong class by another in 1."
    )
    (gallery,) = chapter.galleries
    assert gallery.title == "All of them, the latest flip first"
    assert [card.lines for card in gallery.cards] == [
        ("image 1", "last flip at stage 3: right"),
        ("image 3", "last flip at stage 3: right"),
        ("image 4", "last flip at stage 3: wrong"),
        ("image 2", "last flip at stage 2: wrong"),
    ]


def test_answers_that_stand_and_single_stages_need_no_gallery(part_of: PartOf, subject_of: SubjectOf) -> None:
    chapter = flips(part_of(count=2, answers=[[0, 1], [0, 1]], truth=[0, 1]), subject_of())
    assert chapter is not None
    assert chapter.sentences == ("No answer changes after stage 1, for any of the 2 test images.",)
    assert flips(part_of(count=2, answers=[[0, 1]], truth=[0, 1]), subject_of()) is None


def test_rivers_are_of_every_kind(part_of: PartOf, subject_of: SubjectOf) -> None:
    part = part_of()
    chapter = rivers(part, subject_of())
    right, at_once = part.atlas.right[-1], part.atlas.settled == 1
    expected = [min(3, int(kind.sum())) for kind in (right & at_once, right & ~at_once, ~right)]
    kinds = [river.kind for river in chapter.rivers]
    assert [kinds.count(kind) for kind in ("decided at once", "changed its mind", "wrong")] == expected
