import json
from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import RunError
from torchsid.show import comparison, load_run
from torchsid.study.statistics import mean_interval, paired_difference, paired_seeds, proportion_interval

from .conftest import Make


def correct(path: Path) -> list[bool]:
    split = json.loads((path / "evaluation.json").read_text())["best"]["test"]
    return [mark == "1" for mark in split["correct"]]


def accuracy(path: Path) -> float:
    return float(np.mean(correct(path)))


def test_one_seed_has_the_interval_of_its_test_samples(make_run: Make) -> None:
    path = make_run()
    (row,) = comparison([path]).rows
    assert row.best is not None
    assert row.best.accuracy == proportion_interval(sum(correct(path)), 360)
    assert (row.best.epochs, row.best.split, row.difference) == ((9,), "test", None)
    assert row.best.kl.low is None


def test_several_seeds_have_the_interval_of_their_mean(make_run: Make) -> None:
    paths = [make_run(f"run-{seed}", seed=seed) for seed in range(3)]
    (row,) = comparison(paths).rows
    assert row.best is not None
    assert row.best.accuracy == mean_interval([accuracy(path) for path in paths])
    assert row.train_seconds is not None
    assert row.train_seconds.n == 3


def test_one_seed_each_is_paired_over_the_test_samples(make_run: Make) -> None:
    a, b = make_run("a", error=0.02), make_run("b", label="Backprop", error=0.2)
    result = comparison([a, b])
    assert result.rows[1].difference == paired_difference(correct(b), correct(a))
    assert result.rows[1].paired_over == "test samples"
    assert result.rows[1].difference.difference < 0


def test_common_seeds_are_paired_over_the_seeds(make_run: Make) -> None:
    first = {seed: make_run(f"a{seed}", seed=seed) for seed in (0, 1, 2)}
    second = {seed: make_run(f"b{seed}", seed=seed, label="Backprop") for seed in (1, 2, 3)}
    row = comparison([*first.values(), *second.values()]).rows[1]
    expected = paired_seeds({s: accuracy(p) for s, p in second.items()}, {s: accuracy(p) for s, p in first.items()})
    assert row.difference == expected
    assert (row.paired_over, expected.n) == ("seeds", 2)


def test_different_data_is_not_paired_and_is_noted(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", label="Backprop")
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["data"]["fingerprint"] = {"digits.csv.gz": "ff" * 32}
    (b / "manifest.json").write_text(json.dumps(manifest))
    result = comparison([a, b])
    assert (result.rows[1].difference, result.rows[1].paired_over) == (None, None)
    assert any("do not share their data" in note for note in result.notes)


def test_seeds_that_cut_their_own_validation_part_share_the_test_images(make_run: Make) -> None:
    paths = [make_run(f"a{seed}", seed=seed) for seed in (0, 1)]
    for path, train in zip(paths, ("aa", "bb"), strict=True):
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["data"]["fingerprint"] = {"arrays/train": train * 32, "arrays/test": "cc" * 32}
        (path / "manifest.json").write_text(json.dumps(manifest))
    assert not any("do not share their data" in note for note in comparison(paths).notes)


def test_an_unfinished_run_has_a_row_without_scores_and_a_note(make_run: Make) -> None:
    result = comparison([make_run("a"), make_run("b", label="Backprop", status="interrupted")])
    row = result.rows[1]
    assert (row.best, row.last, row.difference) == (None, None, None)
    assert row.images_per_second is not None
    assert any(note.startswith("b is interrupted after 12 epochs") for note in result.notes)


def test_without_validation_there_is_no_best(make_run: Make) -> None:
    (row,) = comparison([make_run(validation=False)]).rows
    assert row.best is None
    assert row.chosen == row.last


def test_throughput_is_the_median_over_epochs(make_run: Make) -> None:
    path = make_run(epochs=4)
    (row,) = comparison([path]).rows
    rates = [epoch["images_per_second"] for epoch in load_run(path).epochs]
    assert row.images_per_second is not None
    assert row.images_per_second.mean == pytest.approx(np.median(rates))


def test_a_run_given_twice_counts_once(make_run: Make) -> None:
    path = make_run()
    (row,) = comparison([path, path, load_run(path)]).rows
    assert len(row.method.runs) == 1


def test_different_hardware_is_noted(make_run: Make) -> None:
    a, b = make_run("a"), make_run("b", label="Backprop")
    assert not any("hardware" in note for note in comparison([a, b]).notes)
    (b / "manifest.json").write_text((b / "manifest.json").read_text().replace("A CPU", "Another CPU"))
    assert any("hardware" in note for note in comparison([a, b]).notes)


def test_no_runs_is_an_error() -> None:
    with pytest.raises(RunError, match="name one run directory"):
        comparison([])


def test_the_last_weights_have_a_difference_of_their_own(make_run: Make) -> None:
    paths = [make_run("a"), make_run("b", label="Backprop", error=0.2)]
    splits = [run.last.test for run in map(load_run, paths) if run.last is not None]
    first, second = [split.correct for split in splits if split is not None and split.correct is not None]
    row = comparison(paths).rows[1]
    assert row.difference_last == paired_difference(second, first)
    assert row.difference_last != row.difference
