import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.study.fake import Make

from torchsid.errors import RunError
from torchsid.study.report import compare, cost_table, stage_table, summary_table
from torchsid.study.report.compare import Comparison, as_json
from torchsid.study.runs import load_run
from torchsid.study.statistics import PairedDifference, mean_interval, paired_difference, paired_seeds, proportion_interval


def correct(path: Path, weights: str = "last") -> list[bool]:
    return [mark == "1" for mark in json.loads((path / "evaluation.json").read_text())[weights]["test"]["correct"]]


def accuracy(path: Path) -> float:
    return float(np.mean(correct(path)))


def difference(result: Comparison, metric: str = "accuracy") -> PairedDifference | None:
    return next((each.paired for each in result.differences if each.metric == metric), None)


def test_one_seed_has_the_interval_of_its_test_samples(make_run: Make) -> None:
    path = make_run()
    row = compare([path]).mean("SID", "best")
    expected = proportion_interval(sum(correct(path, "best")), 360)
    assert row is not None
    assert (row.value, row.low, row.high) == (expected.mean, expected.low, expected.high)


def test_several_seeds_have_the_interval_of_their_mean(make_run: Make) -> None:
    paths = [make_run(f"run-{seed}", seed=seed) for seed in range(3)]
    row = compare(paths).mean("SID", "accuracy")
    expected = mean_interval([accuracy(path) for path in paths])
    assert row is not None
    assert (row.value, row.low, row.n) == (pytest.approx(expected.mean), pytest.approx(expected.low), 3)


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
    assert difference(result) == paired_seeds(
        {seed: accuracy(path) for seed, path in second.items()}, {seed: accuracy(path) for seed, path in first.items()}
    )
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


def test_an_unfinished_run_has_costs_and_no_scores(make_run: Make) -> None:
    result = compare([make_run("a"), make_run("b", label="Backprop", status="interrupted")])
    assert result.mean("Backprop", "accuracy") is None
    assert result.mean("Backprop", "throughput") is not None
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
    row = result.mean("SID", "accuracy")
    assert row is not None
    assert (row.value, row.low, result.differences) == (pytest.approx(accuracy(paths[0])), None, ())


def test_a_run_given_twice_counts_once_and_none_is_an_error(make_run: Make) -> None:
    path = make_run()
    assert len(compare([path, path, load_run(path)]).runs) == 1
    with pytest.raises(RunError, match="name one run directory"):
        compare([])
