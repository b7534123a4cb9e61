import pytest
from scipy import stats
from tests.study.experiments.samples import experiment, result

from torchsid.study.experiments.analysis import contrasts, holm, metrics_of, paired_effect, reference_of, summaries
from torchsid.study.experiments.experiment import Contender
from torchsid.study.experiments.grid import Cell

A, B = [96.0, 97.5, 95.5, 98.0], [95.0, 96.0, 95.7, 96.5]
SCORES = {("SID", "4"): A, ("BP", "4"): B, ("SID", "2"): B, ("BP", "2"): B, ("flat", ""): A}


def test_a_summary_is_the_mean_with_the_interval_of_student() -> None:
    summary = summaries(result(SCORES, values=("2", "4")))[Cell("SID", "4")]
    interval = summary.interval("accuracy")
    assert interval is not None
    low, high = stats.t.interval(0.95, len(A) - 1, loc=sum(A) / len(A), scale=stats.sem(A))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((96.75, low, high))
    assert interval.n == 4


def test_a_contrast_is_the_paired_test() -> None:
    (at_four,) = [each for each in contrasts(result(SCORES, values=("2", "4"))) if each.cell == Cell("BP", "4")]
    expected = stats.ttest_rel(B, A)
    low, high = expected.confidence_interval(0.95)
    paired = at_four.paired
    assert (paired.difference, paired.low, paired.high) == pytest.approx((-0.95, low, high))
    assert paired.p_value == pytest.approx(expected.pvalue)
    differences = [b - a for a, b in zip(A, B, strict=True)]
    assert at_four.effect == pytest.approx(stats.tmean(differences) / stats.tstd(differences))


def test_p_values_are_corrected_for_all_comparisons_together() -> None:
    found = contrasts(result(SCORES, values=("2", "4")))
    raw = [each.paired.p_value for each in found]
    by_hand = sorted((p, index) for index, p in enumerate(raw) if p is not None)
    smallest, place = by_hand[0]
    assert found[place].corrected == pytest.approx(min(1.0, smallest * len(raw)))
    assert all(each.corrected >= p for each, p in zip(found, raw, strict=True) if each.corrected is not None and p is not None)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_effects_need_pairs_and_spread() -> None:
    assert paired_effect({0: 1.0}, {0: 0.0}) is None
    assert paired_effect({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}) is None
    assert paired_effect({0: 1.0, 1: 3.0, 7: 9.0}, {0: 0.0, 1: 0.0}) == pytest.approx(2 / 2**0.5)


def test_references() -> None:
    found = result(SCORES, values=("2", "4"))
    assert reference_of(found, Cell("BP", "2")) == Cell("SID", "2")
    assert reference_of(found, Cell("SID", "2")) == Cell("SID", "4")
    assert reference_of(found, Cell("SID", "4")) is None
    assert reference_of(found, Cell("flat")) == Cell("SID", "4")


def test_the_reference_may_stand_beside_the_axis() -> None:
    about = experiment(contenders={"flat": Contender(settings={"model.depth": 1}), "SID": Contender()})
    found = result({("flat", ""): A, ("SID", "2"): B}, of=about, values=("2",))
    assert reference_of(found, Cell("SID", "2")) == Cell("flat")
    assert reference_of(found, Cell("flat")) is None


def test_single_seeds_have_no_interval() -> None:
    (each,) = contrasts(result({("SID", "4"): [96.0], ("BP", "4"): [95.0]}, values=("4",)))
    assert (each.paired.low, each.effect, each.corrected) == (None, None, None)
    assert each.paired.difference == pytest.approx(-1.0)


def test_last_and_best_are_always_there() -> None:
    assert metrics_of(result(SCORES, of=experiment(metrics=["kl", "best"]))) == ("accuracy", "best", "kl")
