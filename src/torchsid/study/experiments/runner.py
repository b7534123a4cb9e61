"""Run an experiment: tune every cell with the same rates on the first seed, then repeat the best with the others.

Every run is an ordinary run directory. What is finished is kept, what was interrupted goes on, so that the same command again is
how an experiment is resumed. Runs are made in the order of their importance, so that it can end whenever the time is up.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, takewhile
from math import inf
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from torchsid.errors import CheckpointError, DataError, NonFiniteError, RunError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Job, cells, check, configuration, judged_by, repeats, tuning
from torchsid.study.experiments.parallel import at_once, on_workers
from torchsid.study.experiments.steps import StepCost, step_costs
from torchsid.study.frame import Case, Difference, Frame, rows_of
from torchsid.study.runs import RunRecord, Scores, load_run
from torchsid.training import RunDirectory, train
from torchsid.training.config import differences
from torchsid.training.run import check_directory

SHOWN = {"accuracy": ("accuracy", "best"), "kl": ("kl", "best-kl"), "return": ("return", "best-return")}
"""Of the last epoch, and of the best by validation; by what judges the task."""
_RUN = {"contender": "string", "point": "string", "rate": "float64", "seed": "int64", "chosen": "bool_", "run": "string"}
_WITHIN = {"weights": "string", "split": "string", "stage": "int64", "epoch": "int64"}
COLUMNS = {**_RUN, **_WITHIN, "metric": "string", "value": "float64"}
"""Of a row, with Arrow's types. `point` is null beside the axis; `chosen` says whether the tuning chose `rate`; `run` is the run
directory's name. Numbers of the whole run have neither weights, split, stage (0 is the prior) nor epoch."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: it diverged, its data could not be read, or there is an evaluation."""

    seconds: float = 0.0  # from start to evaluation; 0 where it had finished before
    diverged: str = ""  # where it met NaN or infinity
    no_data: str = ""  # why its data cannot be read


@dataclass(frozen=True)
class Trainer:
    """Trains the runs of an experiment; plain data, so that it can be sent to another process."""

    experiment: Experiment
    runs: Path  # the folder of the run directories
    data: str  # the folder of the data files, empty for none
    command: str  # what was typed, for the manifests

    def has_finished(self, job: Job) -> bool:
        """Return whether a run needs no training; a CheckpointError where it was begun under another configuration."""
        run, config = RunDirectory(self.runs / job.directory), configuration(self.experiment, job, self.data)
        if check_directory(run, config, resume=True) is None:
            return False
        # Settings of `distributed` are no part of a run's identity, but of a contender's.
        if changed := differences(run.config().distributed, config.distributed, "distributed."):
            raise CheckpointError(f"{run.path} was begun otherwise: {', '.join(changed)}; name another directory by --out")
        return bool(run.manifest()["status"] == "finished")

    def train(self, job: Job) -> None:
        """Train or go on with a run in this process, which may be one of its workers."""
        config = configuration(self.experiment, job, self.data)
        train(config, self.runs / job.directory, resume=True, command=self.command)

    def __call__(self, job: Job) -> Outcome:
        """Train a run that has not finished; one that was interrupted goes on. An Interrupted leaves it saved."""
        workers, started = self.experiment.contenders[job.cell.method].workers, perf_counter()
        diverged = no_data = ""
        try:
            if workers > 1:
                on_workers(self.train, job, self.runs / job.directory, workers)
            else:
                self.train(job)
        except NonFiniteError as error:
            diverged = str(error).partition(";")[0]
        except DataError as error:
            no_data = str(error)
        return Outcome(perf_counter() - started, diverged, no_data)


@dataclass(frozen=True, kw_only=True)
class Results:
    """An experiment as far as it was run."""

    experiment: Experiment
    finished: Mapping[Job, RunRecord]  # its finished runs, those at rates that were not chosen among them
    rates: Mapping[Case, float]  # the learning rate of every cell that was tuned; without those all of whose rates diverged
    diverged: Mapping[Job, str]  # where runs met NaN or infinity
    no_data: Mapping[Case, str]  # why the data of a cell cannot be read
    not_run: Mapping[Case, int]  # runs that the time did not allow; a cell that was tuned in part has no rate, and no results
    command: str = ""  # what was typed, the folder of the data named DIR
    costs: Mapping[Case, StepCost] = field(default_factory=dict)  # of a training step, where the experiment asks for it

    @cached_property
    def runs(self) -> dict[Job, RunRecord]:
        """The runs at the chosen rates."""
        return {job: run for job, run in self.finished.items() if job.rate == self.rates.get(job.cell)}

    @cached_property
    def frame(self) -> Frame:
        """Every number of these runs."""
        return Frame.of(row for job, run in self.runs.items() for row in rows_of(run, *job.cell))

    @property
    def tried(self) -> dict[Job, Scores | None]:
        """The validation of every rate that was tried; None where the run diverged."""
        known = (job for job in tuning(self.experiment) if job in self.finished or job in self.diverged)
        return {job: self.finished[job].scores.get(("last", "validation")) if job in self.finished else None for job in known}

    @property
    def cells(self) -> list[Case]:
        """Those that have a rate, contender by contender, in the order of the axis."""
        contenders, points = list(self.experiment.contenders), ["", *self.experiment.points]
        known = (cell for cell in cells(self.experiment) if cell in self.rates)
        return sorted(known, key=lambda cell: (contenders.index(cell.method), points.index(cell.at)))

    @property
    def points(self) -> list[str]:
        """The points of the axis that were run, in its order."""
        run = {cell.at for cell in self.cells}
        return [point for point in self.experiment.points if point in run]

    @property
    def metrics(self) -> list[str]:
        """The metrics of the experiment, those that are always shown first."""
        return list(dict.fromkeys((*self.shown, *self.experiment.metrics)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of every experiment with such a task."""
        return SHOWN[self.judged_by]

    @cached_property
    def judged_by(self) -> str:
        """What of a validation has chosen the rates, see `grid.judged_by`."""
        return judged_by(self.experiment)

    def differences(self, metric: str) -> dict[Case, Difference]:
        """Return every cell less its reference, with p-values corrected for all of them together."""
        references = {cell: self.reference_of(cell) for cell in self.cells}
        return self.frame.differences({cell: other for cell, other in references.items() if other in references}, metric)

    def reference_of(self, cell: Case) -> Case | None:
        """Return what a cell is compared with: the first contender at the same point, or that contender at the reference point."""
        axis, first = self.experiment.axis, next(iter(self.experiment.contenders))
        reference = axis.reference if axis else ""
        if cell.method == first:
            return Case(first, reference) if reference and cell.at not in ("", reference) else None
        return Case(first) if Case(first) in self.cells else Case(first, cell.at or reference or next(iter(self.points), ""))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every number of every run, see `COLUMNS`; of a rate that was not chosen the last weights' validation alone."""
        for job, run in self.finished.items():
            chosen = job in self.runs
            head = (job.cell.method, job.cell.at or None, job.rate, job.seed, chosen, job.directory)
            for row in rows_of(run, *job.cell):
                if chosen or (row.weights, row.split) == ("last", "validation"):
                    within = (row.weights or None, row.split or None, row.stage, row.epoch)
                    yield dict(zip(COLUMNS, (*head, *within, row.metric, row.value), strict=True))


def run(
    experiment: Experiment,
    out: Path,
    *,
    data: str = "",
    minutes: float | None = None,
    workers: int = 1,
    command: str = "",
    say: Callable[[str], None] = print,
) -> Results:
    """Run what is missing of an experiment, and return all of it; the runs are in `out / "runs"`.

    After so many `minutes` no further run begins. So many `workers` are runs at a time, each in a process with one thread; a
    contender's own are processes of one run. `data` is the folder of the data files, if any; `say` is called with one line a run.

    Raises:
        ConfigError: a cell's settings do not exist or do not go together; names all problems, before the first run.
        KeyboardInterrupt: a signal came; everything so far is saved.
        DataError: no run finds its data.
        RunError: the workers of a run failed, or a process was killed.
        CheckpointError: a run in `out` was begun under another configuration.
    """
    check(experiment, data)
    trainer = Trainer(experiment, out / "runs", data, command)
    until = inf if minutes is None else monotonic() + 60 * minutes
    outcomes: dict[Job, Outcome] = {}
    finished: dict[Job, RunRecord] = {}

    def make(jobs: Sequence[Job]) -> None:
        """Train those without an outcome, as long as there is time."""
        new = [job for job in jobs if job not in outcomes]
        known = [job for job in new if trainer.has_finished(job)]
        due = takewhile(lambda _: monotonic() < until, (job for job in new if job not in known))
        with closing(at_once(trainer, due, workers)) as trained:
            for job, outcome in chain(((job, Outcome()) for job in known), trained):
                outcomes[job] = outcome
                result = outcome.no_data or f"diverged: {outcome.diverged}"
                if not (outcome.diverged or outcome.no_data):
                    finished[job] = load_run(trainer.runs / job.directory)
                    scores = validation_of(finished[job])
                    result = "validation " + ", ".join(
                        f"{metric} {scores.last(metric):.4g}" for metric in scores.by_stage if metric != "agreement"
                    )
                say(f"{job.directory:44s} {result}  {'already there' if job in known else f'{outcome.seconds:.1f} s'}")

    tries = tuning(experiment)
    make(tries)
    rates = _choose(tries, finished, outcomes, judged_by(experiment))
    chosen = repeats(experiment, rates)
    make(chosen)

    no_data = {job.cell: outcome.no_data for job, outcome in outcomes.items() if outcome.no_data}
    if outcomes and all(outcome.no_data for outcome in outcomes.values()):
        raise DataError(next(iter(no_data.values())))
    # The rate of a cell that was not tuned with all rates is unknown, the number of its runs is not.
    untuned = {job.cell: job.rate for job in tries if job not in outcomes}
    every = dict.fromkeys([*tries, *repeats(experiment, {**untuned, **rates})])
    return Results(
        experiment=experiment,
        finished=finished,
        rates={job.cell: job.rate for job in chosen},
        diverged={job: outcome.diverged for job, outcome in outcomes.items() if outcome.diverged},
        no_data=no_data,
        not_run=Counter(job.cell for job in every if job not in outcomes),
        command=command,
        costs=step_costs(experiment, data) if experiment.step_rounds else {},
    )


def validation_of(run: RunRecord) -> Scores:
    """Return how the last weights answer the validation data, by which learning rates are chosen; a RunError without such data."""
    if found := run.scores.get(("last", "validation")):
        return found
    raise RunError(f"{run.path} has no validation data to choose a learning rate by: set data.validation above 0")


def _choose(
    tries: Sequence[Job], finished: Mapping[Job, RunRecord], outcomes: Mapping[Job, Outcome], judged_by: str
) -> dict[Case, float]:
    """Return the best rate of every cell; one that was not tuned with all rates has had less of a chance, and gets none."""
    scores: dict[Case, dict[float, tuple[float, float]]] = {}
    for job in tries:
        if job in finished:
            validation = validation_of(finished[job])
            merit, kl = validation.last("accuracy" if judged_by == "kl" else judged_by), -validation.last("kl")
            scores.setdefault(job.cell, {})[job.rate] = (kl, merit) if judged_by == "kl" else (merit, kl)
    untuned = {job.cell for job in tries if job not in outcomes}
    return {cell: max(own, key=own.__getitem__) for cell, own in scores.items() if cell not in untuned}
