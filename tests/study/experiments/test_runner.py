import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.study.experiments.samples import experiment

from torchsid.errors import CheckpointError, DataError
from torchsid.study.experiments import Experiment, run
from torchsid.study.experiments.execute import Outcome
from torchsid.study.experiments.grid import Cell, Grid, Job
from torchsid.study.experiments.plan import Axis, Contender
from torchsid.study.experiments.record import as_json, write
from torchsid.training import Interrupted, loop
from torchsid.training.session import Session

TINY = {"data.limit": 200, "training.epochs": 2, "model.hidden": 16, "model.feature_dim": 16, "training.conflict": False}


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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that ran to its end; tests copy it."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    write(run(tiny(), out, say=lambda line: None, command="torchsid experiment depth"), out)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*/manifest.json")}


def numbers(out: Path) -> object:
    found = json.loads((out / "results.json").read_text())
    return [{name: metric for name, metric in row["metrics"].items() if name != "seconds"} for row in found["summary"]]


@contextmanager
def stopping(at: str) -> Iterator[None]:
    """Stop the run of that name after its first epoch, as a signal would."""
    ended = loop.end_epoch

    def end_epoch(session: Session) -> None:
        ended(session)
        if at in str(session.run.path) and session.progress.epoch == 2:
            raise Interrupted(session.run.path, 15)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "end_epoch", end_epoch)
        yield


def test_every_cell_is_tuned_on_validation_and_repeated_with_every_seed(finished: Path) -> None:
    found = json.loads((finished / "results.json").read_text())
    tried = {(row["contender"], row["value"], row["rate"]): row["validation"] for row in found["tuning"]}
    assert len(tried) == 3 * 2
    for row in found["summary"]:
        cell = row["contender"], row["value"]
        assert row["rate"] == max((0.001, 0.01), key=lambda rate: tried[*cell, rate])
        assert set(row["metrics"]["accuracy"]["by_seed"]) == {"0", "1"}
    assert len(times(finished)) == 3 * (2 + 1)


def test_the_same_again_runs_nothing(out: Path) -> None:
    before, lines = times(out), []
    write(run(tiny(), out, say=lines.append), out)
    assert times(out) == before
    assert len(lines) == 9
    assert all("already there" in line for line in lines)


def test_what_was_lost_or_killed_is_made_up_for_and_the_numbers_are_the_same(out: Path) -> None:
    before, expected = times(out), numbers(out)
    lost, half, stillborn = sorted(before)[:3]
    for name in (lost, half, stillborn):
        shutil.rmtree(out / "runs" / name)
    with stopping(half), pytest.raises(Interrupted):
        run(tiny(), out, say=lambda line: None)
    assert json.loads((out / "runs" / half / "manifest.json").read_text())["status"] == "interrupted"
    shutil.rmtree(out / "runs" / stillborn, ignore_errors=True)
    (out / "runs" / stillborn).mkdir()
    (out / "runs" / stillborn / "config.toml").write_text("")
    write(run(tiny(), out, say=lambda line: None), out)
    after = times(out)
    assert {name for name in before if after[name] != before[name]} == {lost, half, stillborn}
    assert numbers(out) == expected


def test_runs_of_another_configuration_are_not_mixed_in(out: Path) -> None:
    with pytest.raises(CheckpointError, match=r"training\.epochs"):
        run(tiny(settings={**TINY, "training.epochs": 1}), out, say=lambda line: None)


def test_runs_of_another_staleness_are_not_mixed_in(out: Path) -> None:
    contenders = {"SID": Contender(workers=2, settings={"distributed.staleness": 1})}
    with pytest.raises(CheckpointError, match=r"begun otherwise: distributed\.staleness: 0 -> 1"):
        run(tiny(contenders=contenders), out, say=lambda line: None)


def test_a_run_that_diverges_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    about = tiny(rates=[0.001, 1e30], axis=None, seeds=[0], contenders={"SID": Contender(settings={"model.depth": 2})})
    found = run(about, tmp_path, say=lambda line: None)
    assert [job.rate for job in found.failed] == [1e30]
    assert found.rates == {Cell("SID"): 0.001}
    assert [trial.validation is None for trial in found.trials] == [False, True]


def test_a_budget_drops_seeds_first_and_is_remembered(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchsid.study.experiments import runner

    def slow(tasks: dict[Job, object], **rest: object) -> dict[Job, Outcome]:
        return {job: Outcome(10.0) for job in tasks}

    monkeypatch.setattr(runner, "execute", slow)
    lines: list[str] = []
    found = run(tiny(), out, minutes=1.0, say=lines.append)
    assert found.grid == Grid(("2", "3"), (0,))
    assert found.dropped == ("1 of 2 seeds (1)",)
    assert lines[0] == "about 1.0 minutes for a budget of 1; left out: 1 of 2 seeds (1)"
    assert as_json(found)["ran"]["dropped"] == ("1 of 2 seeds (1)",)


@pytest.mark.slow
def test_workers_give_the_same_numbers(tmp_path: Path) -> None:
    about = tiny(rates=[0.001], seeds=[0], contenders={"SID": Contender()})
    for workers in (1, 2):
        out = tmp_path / str(workers)
        write(run(about, out, workers=workers, say=lambda line: None), out)
    assert numbers(tmp_path / "1") == numbers(tmp_path / "2")


def test_data_sets_that_are_missing_are_left_out_and_said(tmp_path: Path) -> None:
    axis = Axis(name="data", points={"digits": {}, "MNIST": {"data.name": "mnist"}})
    about = tiny(axis=axis, rates=[0.001], seeds=[0], contenders={"SID": Contender(settings={"model.depth": 2})})
    found = run(about, tmp_path / "out", data=str(tmp_path), say=lambda line: None)
    assert list(found.rates) == [Cell("SID", "digits")]
    assert found.missing == ("MNIST, whose files are not in the folder of the data",)
    nothing = tiny(axis=Axis(name="data", points={"MNIST": {"data.name": "mnist"}}), contenders=about.contenders)
    with pytest.raises(DataError):
        run(nothing, tmp_path / "none", data=str(tmp_path), say=lambda line: None)
