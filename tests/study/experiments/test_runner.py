import shutil
from pathlib import Path

import pytest
from tests.study.experiments.samples import experiment

from torchsid.errors import CheckpointError, DataError
from torchsid.study.experiments import runner
from torchsid.study.experiments.experiment import Axis, ContenderConfig, Experiment
from torchsid.study.experiments.grid import Job
from torchsid.study.experiments.runner import Results, run
from torchsid.study.frame import Case

TINY = {"data.limit": 200, "training.epochs": 1, "model.hidden": 8, "model.feature_dim": 8}
AHEAD = ContenderConfig(workers=2, settings={"distributed.staleness": 1})
SID2, SID3, FLAT = Case("SID", "2"), Case("SID", "3"), Case("flat")


def tiny(**changes: object) -> Experiment:
    table: dict[str, object] = {
        "settings": TINY,
        "rates": [0.001, 0.01],
        "seeds": [0, 1],
        "axis": Axis(name="L", setting="model.depth", values=[2, 3]),
        "contenders": {
            "SID": ContenderConfig(),
            "flat": ContenderConfig(settings={"model.depth": 1, "model.network": "plain", "learner.name": "backprop"}),
        },
    }
    return experiment(**{**table, **changes})


def silently(about: Experiment, out: Path, **rest: object) -> Results:
    return run(about, out, say=lambda line: None, **rest)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """An experiment that ran to its end; tests copy it."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    return out, silently(tiny(), out)


@pytest.fixture
def out(finished: tuple[Path, Results], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "out"))


def times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*/manifest.json")}


def numbers(results: Results) -> list[dict[str, object]]:
    measured = ("seconds", "throughput", "samples_per_second", "memory", "memory_mib")
    return sorted((row for row in results.rows() if row["metric"] not in measured), key=str)


def test_every_cell_is_tuned_on_validation_and_repeated_with_every_seed(finished: tuple[Path, Results]) -> None:
    out, results = finished
    assert len(results.finished) == len(times(out)) == 3 * (2 + 1)
    assert set(results.rates) == {SID2, SID3, FLAT}
    for cell, rate in results.rates.items():
        own = [row for row in results.rows() if (row["contender"], row["point"]) == (cell.method, cell.at or None)]
        last = [row for row in own if (row["weights"], row["split"], row["metric"]) == ("last", "validation", "accuracy")]
        tried = {row["rate"]: row["value"] for row in last if row["seed"] == 0}  # of the last stage, which comes last
        assert tried[rate] == max(tried.values())
        assert {row["seed"] for row in last if row["chosen"]} == {0, 1}


def test_the_same_again_makes_up_for_what_was_lost_or_killed_at_its_start_alone(out: Path, finished: tuple[Path, Results]) -> None:
    before, lines = times(out), []
    lost, stillborn = sorted(before)[:2]
    config = (out / "runs" / stillborn / "config.toml").read_bytes()
    for name in (lost, stillborn):
        shutil.rmtree(out / "runs" / name)
    (out / "runs" / stillborn).mkdir()
    (out / "runs" / stillborn / "config.toml").write_bytes(config)
    again = run(tiny(), out, say=lines.append)
    after = times(out)
    assert {name for name in before if after[name] != before[name]} == {lost, stillborn}
    assert sum("already there" in line for line in lines) == 9 - 2
    assert numbers(again) == numbers(finished[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {**TINY, "training.epochs": 2}}, r"training\.epochs"),
        (
            {"contenders": {"SID": ContenderConfig(workers=2, settings={"distributed.staleness": 1})}},
            r"distributed\.staleness: 0 -> 1",
        ),
    ],
)
def test_runs_of_another_configuration_are_not_mixed_in(out: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        silently(tiny(**changes), out)


def test_a_run_that_diverges_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    about = tiny(rates=[0.001, 1e30], axis=None, seeds=[0], contenders={"SID": ContenderConfig(settings={"model.depth": 2})})
    results = silently(about, tmp_path)
    assert [job.rate for job in results.diverged] == [1e30]
    assert results.rates == {Case("SID"): 0.001}


def test_when_the_time_is_up_no_run_begins_and_the_same_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tiny(axis=Axis(name="L", setting="model.depth", values=[2]))
    minute = iter(range(1000))
    monkeypatch.setattr(runner, "monotonic", lambda: 60.0 * next(minute))
    results = silently(about, tmp_path, minutes=4)
    assert list(results.finished) == [Job(FLAT, 0.001, 0), Job(FLAT, 0.01, 0), Job(SID2, 0.001, 0)]
    assert set(results.rates) == {FLAT}  # SID2 was tuned in part
    assert results.not_run == {FLAT: 1, SID2: 2}
    assert not silently(about, tmp_path, minutes=100).not_run


def test_data_sets_that_are_missing_are_left_out_and_said(tmp_path: Path) -> None:
    axis = Axis(name="data", points={"digits": {}, "MNIST": {"data.name": "mnist"}})
    about = tiny(axis=axis, rates=[0.001], seeds=[0], contenders={"SID": ContenderConfig(settings={"model.depth": 2})})
    results = silently(about, tmp_path / "out", data=str(tmp_path))
    assert list(results.rates) == [Case("SID", "digits")]
    assert list(results.no_data) == [Case("SID", "MNIST")]
    nothing = tiny(axis=Axis(name="data", points={"MNIST": {"data.name": "mnist"}}), contenders=about.contenders)
    with pytest.raises(DataError):
        silently(nothing, tmp_path / "none", data=str(tmp_path))


def test_a_method_from_outside_gives_the_same_numbers_in_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_method.py").write_text("from torchsid.learners.backprop import Backprop\nclass Mine(Backprop):\n    'Mine.'\n")
    monkeypatch.syspath_prepend(tmp_path)
    about = tiny(rates=[0.001], contenders={"mine": ContenderConfig(settings={"learner.name": "own_method:Mine"})})
    one, two = (silently(about, tmp_path / str(workers), workers=workers) for workers in (1, 2))
    assert numbers(one) == numbers(two)
