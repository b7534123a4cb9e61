from pathlib import Path

import pytest
from scipy import stats
from tests.study.experiments.samples import experiment, record, results
from tests.study.fake import maker

from torchsid.errors import RunError
from torchsid.study.experiments.experiment import ContenderConfig
from torchsid.study.experiments.grid import Job
from torchsid.study.experiments.runner import COLUMNS, Outcome, Results, validation_of
from torchsid.study.experiments.runner import _choose as choose_rates
from torchsid.study.frame import Case
from torchsid.study.runs import load_run

A, B = [96.0, 97.5, 95.5, 98.0], [95.0, 96.0, 95.7, 96.5]
SCORES = {("SID", "4"): A, ("BP", "4"): B, ("SID", "2"): B, ("BP", "2"): B, ("flat", ""): A}


def test_every_cell_is_compared_with_its_reference_and_corrected_for_all_comparisons_together() -> None:
    found = results(SCORES).differences("accuracy")
    assert set(found) == {("BP", "4"), ("SID", "2"), ("BP", "2"), ("flat", "")}
    assert found[Case("BP", "4")].corrected == pytest.approx(min(1.0, 4 * stats.ttest_rel(B, A).pvalue))


def test_references() -> None:
    found = results(SCORES)
    assert found.reference_of(Case("BP", "2")) == Case("SID", "2")
    assert found.reference_of(Case("SID", "2")) == Case("SID", "4")
    assert found.reference_of(Case("SID", "4")) is None
    assert found.reference_of(Case("flat")) == Case("SID", "4")


def test_the_reference_may_stand_beside_the_axis() -> None:
    about = experiment(contenders={"flat": ContenderConfig(settings={"model.depth": 1}), "SID": ContenderConfig()})
    found = results({("flat", ""): A, ("SID", "2"): B}, of=about)
    assert found.reference_of(Case("SID", "2")) == Case("flat")
    assert found.reference_of(Case("flat")) is None


def test_last_and_best_are_always_there() -> None:
    assert results(SCORES, of=experiment(metrics=["kl", "best"])).metrics == ["accuracy", "best", "kl"]


def test_what_judges_the_task_is_shown_first_and_chooses_the_rate() -> None:
    cell = Case("SID", "4")
    right, likely = Job(cell, 0.001, 0), Job(cell, 0.002, 0)
    runs = {right: record(0, 0.9), likely: record(0, 0.8)}
    runs[likely].scores["last", "validation"].by_stage["kl"] = (2.3, 0.5, 0.3)  # type: ignore[index]  # less than the other's
    done = dict.fromkeys(runs, Outcome())
    assert [choose_rates(list(runs), runs, done, judge)[cell] for judge in ("accuracy", "kl")] == [right.rate, likely.rate]
    about = experiment(recipe="language-demo", axis=None, contenders={"SID": ContenderConfig()}, metrics=["accuracy"])
    assert results({("SID", ""): A}, of=about).metrics == ["kl", "best-kl", "accuracy"]


def test_a_row_for_every_number_and_of_rates_that_were_not_chosen_validation_alone(tmp_path: Path) -> None:
    run, cell = load_run(maker(tmp_path)(depth=2, epochs=3)), Case("SID", "4")
    chosen, other = Job(cell, 0.002, 1), Job(cell, 0.001, 0)
    found = Results(
        experiment=experiment(seeds=[0, 1]),
        finished={chosen: run, other: run},
        rates={cell: 0.002},
        diverged={Job(cell, 0.004, 0): "NaN"},
        no_data={},
        not_run={},
    )
    assert (list(found.runs), found.cells, found.points) == ([chosen], [cell], ["4"])
    assert {job.rate: scores is None for job, scores in found.tried.items()} == {0.001: False, 0.004: True}
    assert {(row.method, row.at) for row in found.frame.rows} == {cell}
    rows = list(found.rows())
    assert all(list(row) == list(COLUMNS) for row in rows)
    about = {"contender": "SID", "point": "4", "rate": 0.002, "seed": 1, "chosen": True, "run": chosen.directory}
    place = {"weights": "last", "split": "test", "stage": 2, "epoch": None, "metric": "kl"}
    assert {**about, **place, "value": run.scores["last", "test"].last("kl")} in rows
    assert [row["value"] for row in rows if row["metric"] == "kept" and row["chosen"]] == [25_165_824]
    assert {(row["weights"], row["split"]) for row in rows if not row["chosen"]} == {("last", "validation")}


def test_without_validation_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"data\.validation"):
        validation_of(load_run(maker(tmp_path)(depth=2, validation=False)))
