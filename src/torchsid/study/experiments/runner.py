"""Run an experiment: tune every cell with the same rates on the first seed, then repeat the best with the others.

Every run is an ordinary run directory. What is finished is kept, what was interrupted goes on, so that the same command again is
how an experiment is resumed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchsid.show.record import RunRecord, load_run
from torchsid.study.experiments.available import with_its_data
from torchsid.study.experiments.budget import decide
from torchsid.study.experiments.execute import Outcome, Task, execute
from torchsid.study.experiments.grid import Cell, Grid, Job, check, configuration, repeats, tuning, whole
from torchsid.study.experiments.plan import Experiment
from torchsid.study.experiments.result import Result, chosen_rates, trial, validation_accuracy
from torchsid.study.experiments.sizing import Sized, probes

Say = Callable[[str], None]


def run(
    experiment: Experiment,
    out: Path,
    *,
    data: str = "",
    minutes: float | None = None,
    workers: int = 1,
    command: str = "",
    say: Say = print,
) -> Result:
    """Run what is missing of an experiment and return all of it.

    Args:
        experiment: from `load` or `choose`.
        out: its folder; the runs are in `out / "runs"`.
        data: folder of the data files, empty where none are needed.
        minutes: the budget; None runs everything.
        workers: runs at a time, each in a process with one thread; a contender's own `workers` are processes of one run.
        command: what was typed, for the manifests.
        say: called with one line a run.

    Raises:
        ConfigError: a cell's settings do not exist or do not go together; names all problems, before the first run.
        Interrupted: a signal came; everything so far is saved.
        DataError: the data are missing or damaged.
        RunError: the workers of a run failed.
        CheckpointError: a run in `out` was begun under another configuration.
    """
    check(experiment, data)
    experiment, missing = with_its_data(experiment, data)
    room = _Room(experiment, out / "runs", data, workers, command, say)
    sized = _size(room, out, minutes) if minutes is not None else Sized(whole(experiment), 0.0, ())
    return _run(room, sized, missing)


@dataclass(frozen=True)
class _Room:
    """Where and how the runs of one experiment are made."""

    experiment: Experiment
    runs: Path
    data: str
    workers: int
    command: str
    say: Say

    def run(self, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        tasks = {job: self._task(job) for job in jobs}
        return execute(tasks, workers=self.workers, command=self.command, finished=self._tell)

    def _task(self, job: Job) -> Task:
        workers = self.experiment.contenders[job.cell.contender].workers
        return Task(configuration(self.experiment, job, self.data), self.runs / job.directory, workers)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        if outcome.failed:
            result = f"diverged: {outcome.failed}"
        else:
            validation = validation_accuracy(self.read(job))
            result = "" if validation is None else f"validation {100 * validation:.2f} %"
        took = f"{outcome.seconds:.1f} s" if outcome.seconds else "already there"
        self.say(f"{job.directory:44s} {result}  {took}")

    def read(self, job: Job) -> RunRecord:
        return load_run(self.runs / job.directory)


def _size(room: _Room, out: Path, minutes: float) -> Sized:
    """Return what fits the budget, measured on runs that every size needs."""

    def measure() -> dict[Cell, float]:
        experiment = room.experiment
        jobs = [job for job in _first_jobs(experiment, whole(experiment)) if job.cell in probes(experiment)]
        done = room.run(jobs)
        return {job.cell: outcome.seconds or room.read(job).train_seconds or 0.0 for job, outcome in done.items()}

    sized = decide(room.experiment, out, measure, minutes=minutes, workers=room.workers)
    seconds = f"about {sized.seconds / 60:.1f} minutes for a budget of {minutes:g}"
    room.say(f"{seconds}; left out: {' and '.join(sized.dropped) or 'nothing'}")
    if sized.seconds > 60 * minutes:
        room.say("the least that compares all contenders takes longer than the budget: running that")
    return sized


def _first_jobs(experiment: Experiment, grid: Grid) -> list[Job]:
    """Return one run a cell: the first rate, the first seed; of an ablation the rate that it would take over from that."""
    first: dict[Cell, Job] = {}
    for job in tuning(experiment, grid):
        first.setdefault(job.cell, job)
    for job in repeats(experiment, grid, {cell: job.rate for cell, job in first.items()}):
        first.setdefault(job.cell, job)
    return list(first.values())


def _run(room: _Room, sized: Sized, missing: tuple[str, ...]) -> Result:
    experiment, grid = room.experiment, sized.grid
    tuned = room.run(tuning(experiment, grid))
    trials = tuple(trial(job, None if outcome.failed else room.read(job)) for job, outcome in tuned.items())
    jobs = repeats(experiment, grid, chosen_rates(trials))
    done = {job: tuned[job] for job in jobs if job in tuned} | room.run([job for job in jobs if job not in tuned])
    return Result(
        experiment=experiment,
        grid=grid,
        trials=trials,
        rates={job.cell: job.rate for job in jobs},
        runs={job: room.read(job) for job in jobs if not done[job].failed},
        failed={job: outcome.failed for job, outcome in {**tuned, **done}.items() if outcome.failed},
        missing=missing,
        dropped=sized.dropped,
        command=room.command,
    )
