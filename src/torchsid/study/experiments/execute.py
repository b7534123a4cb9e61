"""Trainings one after another in this process, or several at a time in processes of their own; each perhaps a job of workers."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torchsid.errors import CheckpointError, NonFiniteError
from torchsid.study.experiments.grid import Job
from torchsid.study.experiments.launch import train_on_workers
from torchsid.study.experiments.pool import at_once
from torchsid.training.config import RunConfig
from torchsid.training.interruption import Interrupted
from torchsid.training.loop import train
from torchsid.training.run import open_run
from torchsid.training.schema import differences

_BEFORE_TRAINING = {"config.toml", ".config.toml.new", ".manifest.json.new"}  # all that a run killed at its start has left


@dataclass(frozen=True)
class Task:
    """What to train, where to, and by how many workers."""

    config: RunConfig
    path: Path
    workers: int = 1


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
        tasks: by job.
        workers: runs at a time, each in a process of its own; 1 trains in this one.
        command: for the manifests.
        finished: called after each, in the order of the tasks.

    Raises:
        KeyboardInterrupt: a signal came; runs under way are saved.
        RunError: the workers of a run failed, or a process was killed.
        CheckpointError: a run was begun under another configuration.
    """
    one = partial(train_one, command=command)
    outcomes: dict[Job, Outcome] = {}
    each = list(tasks.values())
    for job, outcome in zip(tasks, map(one, each) if workers == 1 else at_once(one, each, workers), strict=True):
        if outcome.signal:
            raise Interrupted(tasks[job].path, outcome.signal)
        outcomes[job] = outcome
        finished(job, outcome)
    return outcomes


def train_one(task: Task, command: str) -> Outcome:
    """Train one task; divergence and interruption are outcomes, which travel between processes."""
    config, path = task.config, task.path
    started = time.perf_counter()
    _clear_stillborn(path)
    begun = path.exists() and any(path.iterdir())
    if begun:
        _check_distributed(path, config)
    if begun and open_run(path).manifest()["status"] == "finished":
        train(config, path, resume=True)  # only checks that the configuration is the same
        return Outcome(0.0)
    try:
        if task.workers > 1:
            train_on_workers(config, path, task.workers)
        else:
            train(config, path, resume=begun, command=command)
    except NonFiniteError as error:
        return Outcome(time.perf_counter() - started, failed=str(error).partition(";")[0])
    except Interrupted as stop:
        return Outcome(time.perf_counter() - started, signal=stop.signal)
    return Outcome(time.perf_counter() - started)


def _check_distributed(path: Path, config: RunConfig) -> None:
    """Refuse a run with other settings of `distributed`, which are no part of a run's identity, but of a contender's."""
    changed = [each for each in differences(open_run(path).config(), config) if each.startswith("distributed.")]
    if changed:
        raise CheckpointError(f"{path} was begun otherwise: {', '.join(changed)}; name another directory by --out")


def _clear_stillborn(path: Path) -> None:
    """Remove a run that was killed before its manifest was written: nothing of it is worth going on with."""
    left = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if left and left <= _BEFORE_TRAINING:
        shutil.rmtree(path)
