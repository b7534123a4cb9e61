import pytest
from tests.study.fake import Make

from torchsid.study.frame import METRICS, Case, Frame, Row, conflict, over_seeds, rows_of
from torchsid.study.runs import load_run
from torchsid.study.statistics import holm, mean_interval, paired_seeds, proportion_interval


def row(seed: int, value: float, method: str = "SID", **more: object) -> Row:
    return Row(method=method, metric="accuracy", seed=seed, value=value, **more)  # type: ignore[arg-type]


def test_every_number_of_a_run_is_a_row(make_run: Make) -> None:
    run = load_run(make_run(depth=3, epochs=4))
    rows = list(rows_of(run, "SID", "at"))
    assert {(each.method, each.at, each.seed) for each in rows} == {("SID", "at", 0)}
    places = {(each.metric, each.weights, each.split, each.stage, each.epoch) for each in rows}
    assert len(places) == len(rows)
    assert ("kl", "last", "test", 3, None) in places
    assert ("train_loss", "", "", None, 4) in places
    numbers = {each.metric: each.value for each in rows if each.stage is None and each.epoch is None}
    others = {"groups", "forgetting"}  # which a sequence of tasks alone has
    others |= {"mae", "best-mae", "rmse", "r2", "coverage"}  # of numbers
    assert set(numbers) == {name for name in METRICS if "return" not in name} - others
    assert numbers["accuracy"] == run.scores["last", "test"].last("accuracy")
    assert numbers["best"] == run.scores["best", "test"].last("accuracy")
    assert numbers["kept"] == 25_165_824


def test_what_was_not_recorded_has_no_row(make_run: Make) -> None:
    run = load_run(make_run(validation=False, conflict=False, kept_bytes=None, epochs=2))
    assert not {"best", "cosine", "kept", "speed"} & {each.metric for each in rows_of(run, "SID")}


def test_conflict_is_the_mean_of_what_lies_beside_the_diagonal(make_run: Make) -> None:
    run = load_run(make_run(depth=2, epochs=3))
    recorded = [matrix[0][1] for _, matrix in conflict(run)]
    assert METRICS["cosine"].of(run) == pytest.approx(sum(recorded) / 3)


def test_means_are_over_seeds_and_a_share_of_one_seed_over_its_samples() -> None:
    several = [row(seed, value) for seed, value in enumerate([0.9, 0.8, 0.85])]
    (mean,) = over_seeds(several)
    expected = mean_interval([0.9, 0.8, 0.85])
    assert (mean.value, mean.low, mean.high, mean.n, mean.seed) == (expected.mean, expected.low, expected.high, 3, None)
    (one,) = over_seeds([row(0, 0.9, n=360)])
    assert (one.low, one.high) == (proportion_interval(324, 360).low, proportion_interval(324, 360).high)
    (bare,) = over_seeds([row(0, 2.5)])
    assert (bare.value, bare.low) == (2.5, None)
    (without,) = over_seeds(several, intervals=False)
    assert (without.value, without.low) == (pytest.approx(0.85), None)


def test_only_rows_that_differ_in_nothing_but_the_seed_are_averaged() -> None:
    rows = [row(0, 1.0, stage=1), row(0, 2.0, stage=2), row(1, 3.0, stage=1), row(0, 4.0, at="x", stage=1)]
    assert sorted(each.value for each in over_seeds(rows)) == [2.0, 2.0, 4.0]


def test_differences_are_paired_over_common_seeds_and_corrected_for_their_number() -> None:
    values = {"SID": {0: 0.9, 1: 0.92, 2: 0.91}, "BP": {1: 0.9, 2: 0.88, 3: 0.1}, "late": {0: 0.5, 1: 0.7, 2: 0.2}, "odd": {7: 1.0}}
    rows = [row(seed, value, method) for method, own in values.items() for seed, value in own.items()]
    frame = Frame.of(rows)
    found = frame.differences({Case(name): Case("SID") for name in ("BP", "late", "odd")}, "accuracy")
    assert list(found) == [Case("BP"), Case("late")]  # the last one has no seed in common
    assert found[Case("BP")].paired == paired_seeds(values["BP"], values["SID"])
    assert [each.corrected for each in found.values()] == holm([each.paired.p_value for each in found.values()])
    assert frame.by_seed("accuracy")[Case("odd")] == {7: 1.0}


def test_numbers_are_shown_in_their_unit() -> None:
    assert METRICS["accuracy"].text(0.97224) == "97.22"
    assert METRICS["accuracy"].difference(-0.0139) == "−1.39"
    assert METRICS["accuracy"].difference(-0.00001) == "+0.00"
    assert METRICS["kept"].text(2**20) == "1.00"
    assert METRICS["seconds"].text(200) == "3 min 20 s"
