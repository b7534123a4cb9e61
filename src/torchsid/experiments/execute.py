"""Trainings one after another in this process, or several at a time in processes of their own."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from torchsid.errors import NonFiniteError
from torchsid.experiments.grid import Job
from torchsid.training.config import RunConfig
from torchsid.training.interruption import Interrupted

Task = tuple[RunConfig, Path]
_BEFORE_TRAINING = {"config.toml", ".config.toml.new", ".manifest.json.new"}  # all that a run killed at its start has left


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    seconds: float
    """From start to evaluation; 0 where the run had finished before."""
    failed: str = ""
    """How it diverged; empty when it did not."""
    signal: int = 0
    """That interrupted it."""


def execute(
    tasks: Mapping[Job, Task], *, workers: int, command: str, finished: Callable[[Job, Outcome], None]
) -> dict[Job, Outcome]:
    """Train every task, go on with those that were interrupted, and leave finished ones as they are.

    Args:
        tasks: configuration and run directory by job.
        workers: processes; 1 trains in this one.
        command: for the manifests.
        finished: called after each, in the order of the tasks.

    Raises:
        Interrupted: a signal came; runs under way are saved.
    """
    one = partial(train_one, command=command)
    outcomes: dict[Job, Outcome] = {}
    for job, outcome in zip(tasks, _in_turn_or_at_once(one, list(tasks.values()), workers), strict=True):
        if outcome.signal:
            raise Interrupted(tasks[job][1], outcome.signal)
        outcomes[job] = outcome
        finished(job, outcome)
    return outcomes


def _in_turn_or_at_once(one: Callable[[Task], Outcome], tasks: list[Task], workers: int) -> Iterator[Outcome]:
    if workers == 1 or len(tasks) < 2:
        yield from map(one, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, tasks)


def train_one(task: Task, command: str) -> Outcome:
    """Train one task; divergence and interruption are outcomes, which travel between processes."""
    from torchsid.training.loop import train
    from torchsid.training.run import open_run

    config, path = task
    started = time.perf_counter()
    _clear_stillborn(path)
    begun = path.exists() and any(path.iterdir())
    if begun and open_run(path).manifest()["status"] == "finished":
        train(config, path, resume=True)  # only checks that the configuration is the same
        return Outcome(0.0)
    try:
        train(config, path, resume=begun, command=command)
    except NonFiniteError as error:
        return Outcome(time.perf_counter() - started, failed=str(error).partition(";")[0])
    except Interrupted as stop:
        return Outcome(time.perf_counter() - started, signal=stop.signal)
    return Outcome(time.perf_counter() - started)


def _clear_stillborn(path: Path) -> None:
    """Remove a run that was killed before its manifest was written: nothing of it is worth going on with."""
    left = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if left and left <= _BEFORE_TRAINING:
        shutil.rmtree(path)
