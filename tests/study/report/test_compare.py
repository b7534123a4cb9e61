import json
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from tests.study.fake import Make

from torchsid.errors import RunError
from torchsid.study.frame import Case
from torchsid.study.report import compare, cost_table, stage_table, summary_table
from torchsid.study.report.compare import Comparison, as_json, gather
from torchsid.study.runs import load_run
from torchsid.study.statistics import PairedDifference, paired_difference, paired_seeds


def correct(path: Path, weights: str = "last") -> list[bool]:
    return [mark == "1" for mark in json.loads((path / "evaluation.json").read_text())[weights]["test"]["correct"]]


def accuracy(path: Path) -> float:
    return float(np.mean(correct(path)))


def difference(result: Comparison, metric: str = "accuracy") -> PairedDifference | None:
    return next((each.paired for each in result.differences if each.metric == metric), None)


def test_one_seed_each_is_paired_over_the_test_samples(make_run: Make) -> None:
    a, b = make_run("a", error=0.02), make_run("b", label="Backprop", error=0.2)
    result = compare([a, b])
    assert difference(result) == paired_difference(correct(b), correct(a))
    assert difference(result, "best") == paired_difference(correct(b, "best"), correct(a, "best"))
    assert {each.over for each in result.differences} == {"test samples"}
    assert summary_table(result).rows[1][-1].mark == "▼"


def test_common_seeds_are_paired_over_the_seeds(make_run: Make) -> None:
    first = {seed: make_run(f"a{seed}", seed=seed) for seed in (0, 1, 2)}
    second = {seed: make_run(f"b{seed}", seed=seed, label="Backprop") for seed in (1, 2, 3)}
    result = compare([*first.values(), *second.values()])
    ours, theirs = ({seed: accuracy(path) for seed, path in own.items()} for own in (second, first))
    found = difference(result)
    assert found is not None
    assert astuple(found) == pytest.approx(astuple(paired_seeds(ours, theirs)))
    assert [each.over for each in result.differences] == ["seeds", "seeds"]


def test_different_data_is_not_paired_and_is_noted(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", label="Backprop")
    assert compare([a, b]).notes == (compare([a, b]).notes[0],)  # that there is one seed
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["data"]["fingerprint"] = {"digits.csv.gz": "ff" * 32}
    manifest["hardware"]["cpu"] = "Another CPU"
    (b / "manifest.json").write_text(json.dumps(manifest))
    result = compare([a, b])
    assert difference(result) is None
    assert len(result.notes) == 3


def test_seeds_that_cut_their_own_validation_part_share_the_test_samples(make_run: Make) -> None:
    paths = [make_run(f"a{seed}", seed=seed) for seed in (0, 1)]
    for path, train in zip(paths, ("aa", "bb"), strict=True):
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["data"]["fingerprint"] = {"arrays/train": train * 32, "arrays/test": "cc" * 32}
        (path / "manifest.json").write_text(json.dumps(manifest))
    assert compare(paths).notes == ()


def test_what_was_left_out_of_the_data_is_said(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", seed=1)
    for path, skipped in ((a, ["3 hidden files, left out: .a"]), (b, ["3 hidden files, left out: .a", *map(str, range(9))])):
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["data"]["skipped"] = skipped
        (path / "manifest.json").write_text(json.dumps(manifest))
    notes = compare([a, b]).notes
    assert notes[0] == "Of the data: 3 hidden files, left out: .a."
    assert (len(notes), notes[-1]) == (6, "Of the data: 5 remarks more, which are in manifest.json.")


def test_an_unfinished_run_has_costs_and_no_scores(make_run: Make) -> None:
    result = compare([make_run("a"), make_run("b", label="Backprop", status="interrupted")])
    assert result.frame.mean(Case("Backprop"), "accuracy") is None
    assert result.frame.mean(Case("Backprop"), "throughput") is not None
    assert difference(result) is None
    assert result.notes


def test_tables_have_a_row_a_method(make_run: Make) -> None:
    result = compare([make_run("a"), make_run("b", label="Plain", depth=1), make_run("c", seed=1)])
    for found in (summary_table(result), cost_table(result), stage_table(result)):
        assert [row[0].value for row in found.rows] == ["SID", "Plain"]
        assert all(len(row) == len(found.columns) for row in found.rows)
    assert [cell.value != "" for cell in stage_table(result).rows[1]] == [True, True, False, False, False, False]


def test_all_of_it_can_be_written_as_tidy_rows(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", label="Backprop")
    found = json.loads(json.dumps(as_json(compare([a, b]))))
    assert [method["runs"] for method in found["methods"]] == [[str(a)], [str(b)]]
    place = {"method": "Backprop", "metric": "accuracy", "weights": "last", "split": "test", "stage": 5}
    (row,) = [row for row in found["rows"] if place.items() <= row.items()]
    assert row["value"] == pytest.approx(accuracy(b))
    assert found["differences"][0]["paired"]["n"] == 360


def test_without_scipy_there_are_means_alone(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    paths = [make_run("a"), make_run("b", label="Backprop")]
    with pytest.raises(ImportError, match=r"pip install 'torchsid\[report\]'"):
        compare(paths)
    result = compare(paths, intervals=False)
    row = result.frame.mean(Case("SID"), "accuracy")
    assert row is not None
    assert (row.value, row.low, result.differences) == (pytest.approx(accuracy(paths[0])), None, ())


def test_a_run_given_twice_counts_once_and_none_is_an_error(make_run: Make) -> None:
    path = make_run()
    assert len(compare([path, path, load_run(path)]).runs) == 1
    with pytest.raises(RunError, match="name one run directory"):
        compare([])


def names(*paths: Path) -> list[str]:
    return [method.name for method in gather([load_run(path) for path in paths])]


def test_runs_that_differ_in_their_seed_are_one_method_ordered_by_seed(make_run: Make) -> None:
    runs = [load_run(make_run(f"run-{seed}", seed=seed)) for seed in (2, 0, 1)]
    (method,) = gather(runs)
    assert [run.seed for run in method.runs] == [0, 1, 2]


def test_what_does_not_change_the_training_does_not_make_a_method(make_run: Make) -> None:
    settings = {"watch.conflict": True, "training.loggers": ["tensorboard"], "training.threads": 4, "distributed.queue": 3}
    assert names(make_run("a"), make_run("b", seed=1, settings=settings)) == ["SID"]


def test_the_same_label_is_told_apart_by_the_settings_that_differ_if_they_are_few(make_run: Make) -> None:
    a, b = (make_run(f"run-{alpha}", settings={"learner.alpha": alpha}) for alpha in (0.5, 0.7))
    assert names(a, b) == ["SID (alpha = 0.5)", "SID (alpha = 0.7)"]
    other = make_run("much", settings={f"model.setting_{k}": k for k in range(9)})
    assert names(a, other) == ["SID (alpha = 0.5)", "SID (much)"]


def test_a_repeated_seed_keeps_its_runs_apart_by_directory(make_run: Make) -> None:
    assert names(make_run("monday"), make_run("tuesday")) == ["SID (monday)", "SID (tuesday)"]


def test_the_example_is_the_evaluated_run_of_the_lowest_seed(make_run: Make) -> None:
    runs = [load_run(make_run("a", seed=0, status="running")), load_run(make_run("b", seed=1))]
    (method,) = gather(runs)
    assert method.example is runs[1]
