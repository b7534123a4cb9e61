import shutil
import signal
from pathlib import Path

import pytest
from pyarrow import parquet
from tests.study.experiments.processes import finish, start, stop, write_question
from tests.study.experiments.samples import experiment

from torchsid.errors import CheckpointError, DataError
from torchsid.study.experiments import Experiment, Results, run, runner
from torchsid.study.experiments.experiment import Axis, Contender
from torchsid.study.experiments.grid import Cell, Job
from torchsid.training import resolve, train

TINY = {"data.limit": 200, "training.epochs": 1, "model.hidden": 8, "model.feature_dim": 8, "watch.conflict": False}
SID2, SID3, FLAT = Cell("SID", "2"), Cell("SID", "3"), Cell("flat")


def tiny(**changes: object) -> Experiment:
    table: dict[str, object] = {
        "settings": TINY,
        "rates": [0.001, 0.01],
        "seeds": [0, 1],
        "axis": Axis(name="L", setting="model.depth", values=[2, 3]),
        "contenders": {
            "SID": Contender(),
            "flat": Contender(settings={"model.depth": 1, "model.network": "plain", "learner.name": "backprop"}),
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


def numbers(out: Path) -> list[dict[str, object]]:
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    measured = ("seconds", "throughput", "samples_per_second", "memory", "memory_mib")
    return sorted((row for row in rows if row["metric"] not in measured), key=str)


def test_every_cell_is_tuned_on_validation_and_repeated_with_every_seed(finished: tuple[Path, Results]) -> None:
    out, results = finished
    assert len(results.runs) == len(times(out)) == 3 * (2 + 1)
    assert set(results.rates) == {SID2, SID3, FLAT}
    for cell, rate in results.rates.items():
        own = [row for row in results.rows() if (row["contender"], row["point"]) == (cell.contender, cell.point or None)]
        last = [row for row in own if (row["weights"], row["split"], row["metric"]) == ("last", "validation", "accuracy")]
        tried = {row["rate"]: row["value"] for row in last if row["seed"] == 0}  # of the last stage, which comes last
        assert tried[rate] == max(tried.values())
        assert {row["seed"] for row in last if row["chosen"]} == {0, 1}


def test_the_same_again_makes_up_for_what_was_lost_or_killed_at_its_start_alone(out: Path) -> None:
    before, expected, lines = times(out), numbers(out), []
    lost, stillborn = sorted(before)[:2]
    for name in (lost, stillborn):
        shutil.rmtree(out / "runs" / name)
    (out / "runs" / stillborn).mkdir()
    (out / "runs" / stillborn / "config.toml").write_text("")
    run(tiny(), out, say=lines.append)
    after = times(out)
    assert {name for name in before if after[name] != before[name]} == {lost, stillborn}
    assert sum("already there" in line for line in lines) == 9 - 2
    assert numbers(out) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {**TINY, "training.epochs": 2}}, r"training\.epochs"),
        ({"contenders": {"SID": Contender(workers=2, settings={"distributed.staleness": 1})}}, r"distributed\.staleness: 0 -> 1"),
    ],
)
def test_runs_of_another_configuration_are_not_mixed_in(out: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        silently(tiny(**changes), out)


def test_a_run_that_diverges_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    about = tiny(rates=[0.001, 1e30], axis=None, seeds=[0], contenders={"SID": Contender(settings={"model.depth": 2})})
    results = silently(about, tmp_path)
    assert [job.rate for job in results.diverged] == [1e30]
    assert results.rates == {Cell("SID"): 0.001}


def test_when_the_time_is_up_no_run_begins_and_the_same_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tiny(axis=Axis(name="L", setting="model.depth", values=[2]))
    minute = iter(range(1000))
    monkeypatch.setattr(runner, "monotonic", lambda: 60.0 * next(minute))
    results = silently(about, tmp_path, minutes=4)
    assert list(results.runs) == [Job(FLAT, 0.001, 0), Job(FLAT, 0.01, 0), Job(SID2, 0.001, 0)]
    assert set(results.rates) == {FLAT}  # SID2 was tuned in part
    assert results.not_run == {FLAT: 1, SID2: 2}
    assert not silently(about, tmp_path, minutes=100).not_run


def test_data_sets_that_are_missing_are_left_out_and_said(tmp_path: Path) -> None:
    axis = Axis(name="data", points={"digits": {}, "MNIST": {"data.name": "mnist"}})
    about = tiny(axis=axis, rates=[0.001], seeds=[0], contenders={"SID": Contender(settings={"model.depth": 2})})
    results = silently(about, tmp_path / "out", data=str(tmp_path))
    assert list(results.rates) == [Cell("SID", "digits")]
    assert list(results.no_data) == [Cell("SID", "MNIST")]
    nothing = tiny(axis=Axis(name="data", points={"MNIST": {"data.name": "mnist"}}), contenders=about.contenders)
    with pytest.raises(DataError):
        silently(nothing, tmp_path / "none", data=str(tmp_path))


def test_a_method_from_outside_gives_the_same_numbers_in_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_method.py").write_text("from torchsid.learners.backprop import Backprop\nclass Mine(Backprop):\n    'Mine.'\n")
    monkeypatch.syspath_prepend(tmp_path)
    about = tiny(rates=[0.001], contenders={"mine": Contender(settings={"learner.name": "own_method:Mine"})})
    for workers in (1, 2):
        silently(about, tmp_path / str(workers), workers=workers)
    assert numbers(tmp_path / "1") == numbers(tmp_path / "2")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_command_leaves_no_process_and_the_same_again_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_question(tmp_path, rates=[0.001, 0.002])
    first = tmp_path / "out" / "runs" / "it-rate0.001-seed0"
    stop(start(tmp_path, "--workers", "2"), signal.SIGKILL, first)
    said = finish(start(tmp_path, "--workers", "2"))
    assert "it-rate0.002-seed0" in said
    assert '"resume"' in (first / "metrics.jsonl").read_text()
    alone = train(resolve(first / "config.toml"), tmp_path / "alone")
    assert (first / "evaluation.json").read_bytes() == (alone / "evaluation.json").read_bytes()
