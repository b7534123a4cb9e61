import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.distributed.workers import start

from torchsid.cli.main import main
from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.study.experiments import parallel
from torchsid.study.experiments.parallel import at_once, on_workers, problems
from torchsid.training import resolve, train


@pytest.mark.parametrize("processes", [1, 2])
def test_every_item_comes_with_its_result(processes: int) -> None:
    squares = [float(k * k) for k in range(4)]
    assert dict(at_once(math.sqrt, squares, processes)) == {square: math.sqrt(square) for square in squares}


def test_an_item_is_taken_when_a_process_is_free() -> None:
    taken = []
    results = at_once(math.sqrt, (taken.append(k) or float(k) for k in range(4)), 2)  # type: ignore[func-returns-value]
    next(results)
    assert len(taken) <= 3
    results.close()


@pytest.mark.parametrize(("work", "item", "message"), [(math.sqrt, -1.0, "math domain"), (os._exit, 9, "exit code 9")])
def test_what_failed_there_is_said_here(work: Callable[[float], object], item: float, message: str) -> None:
    with pytest.raises(RunError, match=message):
        list(at_once(work, [item], 2))


def test_who_stops_asking_leaves_nothing_behind() -> None:
    results = at_once(time.sleep, [0.0, 600.0], 2)
    next(results)
    results.close()  # waits for the processes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all(number: signal.Signals) -> None:
    results = at_once(time.sleep, [0.0, 600.0, 600.0], 2)
    next(results)
    signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        next(results)


@pytest.mark.parametrize(
    ("recipe", "settings", "workers", "messages"),
    [
        ("digits", [], 1, []),
        ("digits", ["distributed.staleness=4"], 3, []),
        ("digits", [], 4, ["4 workers for 2 stages: at most 3"]),
        ("digits", ["learner.combine=pcgrad"], 2, ["pcgrad"]),
        ("digits", ["learner.name=backprop"], 2, ["trains in one process"]),
        ("digits", ["distributed.staleness=1"], 1, ["distributed.staleness = 1 does nothing in one process"]),
        ("digits-staged", ["distributed.replicas=2"], 4, []),
        ("digits-staged", ["distributed.replicas=2"], 3, ["no multiple"]),
        ("digits-staged", ["distributed.replicas=2"], 6, ["at most 4"]),
    ],
)
def test_what_does_not_fit_the_workers_is_said(recipe: str, settings: list[str], workers: int, messages: list[str]) -> None:
    found = problems(resolve(recipe, ["model.depth=2", *settings]), workers)
    assert all(message in problem for message, problem in zip(messages, found, strict=True))


@pytest.mark.parametrize("kind", [NonFiniteError, DataError, RunError])
def test_the_error_of_a_worker_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ValueError]) -> None:
    def failing(*args: object, **options: object) -> None:
        raise RunError(f"process 1 failed: torchsid.errors.{kind.__name__}: epoch 1:\n  - of it all")

    monkeypatch.setattr(parallel, "in_fresh_processes", failing)
    with pytest.raises(kind, match=r"epoch 1:\n  - of it all$"):
        on_workers(math.sqrt, 1.0, tmp_path / "run", 2)


QUESTION = """
question = "Does it?"
recipe = "digits"
rates = {rates}
seeds = [0]
settings = {{ "data.limit" = 200, "training.epochs" = 15, "training.checkpoint_every_seconds" = 0, "model.depth" = 2 }}
contenders = {{ it = {{ {contender} }} }}
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("contender", "rates", "arguments", "number"),
    [("", [0.001, 0.002], ["--workers", "2"], signal.SIGKILL), ("workers = 2", [0.001], [], signal.SIGINT)],
)
def test_a_command_that_ends_leaves_no_process_and_the_same_again_goes_on_to_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contender: str,
    rates: list[float],
    arguments: list[str],
    number: signal.Signals,
) -> None:
    """Several runs at a time, each in a process of its own; and one run by a job of several workers."""
    (tmp_path / "mine.toml").write_text(QUESTION.format(contender=contender, rates=rates))
    run, end = tmp_path / "out" / "runs" / "it-rate0.001-seed0", time.monotonic() + 100
    first = start(tmp_path, "experiment", "mine.toml", "--out", "out", *arguments)
    while not (run / "checkpoints" / "last" / "state.json").exists():
        assert first.exitcode is None
        assert time.monotonic() < end
        time.sleep(0.02)
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) >= 2
    os.kill(first.pid, number)
    first.join(60)
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    assert first.exitcode == (130 if number == signal.SIGINT else -number)
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "mine.toml", "--out", "out", *arguments]) == 0
    assert '"resume"' in (run / "metrics.jsonl").read_text()
    assert bool(contender) == ("workers" in json.loads((run / "manifest.json").read_text()))
    alone = train(resolve(run / "config.toml"), tmp_path / "alone")
    assert (run / "evaluation.json").read_bytes() == (alone / "evaluation.json").read_bytes()
