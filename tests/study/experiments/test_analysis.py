from pathlib import Path

import pytest
from scipy import stats
from tests.study.experiments.samples import analysis, experiment
from tests.study.fake import maker

from torchsid.study.experiments.analysis import Analysis
from torchsid.study.experiments.experiment import Contender
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.results import Results

A, B = [96.0, 97.5, 95.5, 98.0], [95.0, 96.0, 95.7, 96.5]
SCORES = {("SID", "4"): A, ("BP", "4"): B, ("SID", "2"): B, ("BP", "2"): B, ("flat", ""): A}


def test_a_mean_has_the_interval_of_student() -> None:
    mean = analysis(SCORES).mean(Cell("SID", "4"), "accuracy")
    assert mean is not None
    low, high = stats.t.interval(0.95, len(A) - 1, loc=sum(A) / len(A), scale=stats.sem(A))
    assert (100 * mean.value, mean.n) == (pytest.approx(96.75), 4)
    assert (mean.low, mean.high) == pytest.approx((low / 100, high / 100))


def test_a_difference_is_the_paired_test_corrected_for_all_comparisons_together() -> None:
    found = analysis(SCORES).differences("accuracy")
    assert list(found) == [("BP", "4"), ("SID", "2"), ("BP", "2"), ("flat", "")]
    paired, expected = found["BP", "4"].paired, stats.ttest_rel(B, A)
    low, high = expected.confidence_interval(0.95)
    assert (100 * paired.difference, 100 * paired.low, 100 * paired.high) == pytest.approx((-0.95, low, high))
    assert paired.p_value == pytest.approx(expected.pvalue)
    assert found["BP", "4"].corrected == pytest.approx(min(1.0, 4 * expected.pvalue))


def test_references() -> None:
    found = analysis(SCORES)
    assert found.reference_of(Cell("BP", "2")) == Cell("SID", "2")
    assert found.reference_of(Cell("SID", "2")) == Cell("SID", "4")
    assert found.reference_of(Cell("SID", "4")) is None
    assert found.reference_of(Cell("flat")) == Cell("SID", "4")


def test_the_reference_may_stand_beside_the_axis() -> None:
    about = experiment(contenders={"flat": Contender(settings={"model.depth": 1}), "SID": Contender()})
    found = analysis({("flat", ""): A, ("SID", "2"): B}, of=about)
    assert found.reference_of(Cell("SID", "2")) == Cell("flat")
    assert found.reference_of(Cell("flat")) is None


def test_single_seeds_have_no_interval() -> None:
    (each,) = analysis({("SID", "4"): [96.0], ("BP", "4"): [95.0]}).differences("accuracy").values()
    assert (each.paired.low, each.effect, each.corrected) == (None, None, None)
    assert each.paired.difference == pytest.approx(-0.01)


def test_last_and_best_are_always_there() -> None:
    assert analysis(SCORES, of=experiment(metrics=["kl", "best"])).metrics == ["accuracy", "best", "kl"]


def test_runs_are_read_from_their_directories(tmp_path: Path) -> None:
    """Of a rate that was not chosen the validation counts, and nothing else."""
    make, about = maker(tmp_path), experiment(seeds=[0, 1])
    cell = Cell("SID", "4")
    runs = {
        Job(cell, rate, seed): make(f"{rate}-{seed}", seed=seed, depth=4) for rate, seed in ((0.001, 0), (0.002, 0), (0.002, 1))
    }
    diverged = {Job(cell, 0.004, 0): "NaN"}
    results = Results(experiment=about, runs=runs, rates={cell: 0.002}, diverged=diverged, no_data={}, not_run={})
    found = Analysis.of(results)
    assert list(found.runs) == [Job(cell, 0.002, 0), Job(cell, 0.002, 1)]
    assert (found.cells, found.points) == ([cell], ["4"])
    assert [job.rate for job in found.tried] == [0.001, 0.002, 0.004]
    assert [scores is None for scores in found.tried.values()] == [False, False, True]
    assert {(row.method, row.at) for row in found.rows} == {("SID", "4")}
