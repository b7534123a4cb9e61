"""Run an experiment: tune every cell with the same rates on the first seed, then repeat the best with the others.

Every run is an ordinary run directory. What is finished is kept, what was interrupted goes on, so that the same command again is
how an experiment is resumed. Runs are made in the order of their importance, so that it can end whenever the time is up.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import chain, takewhile
from math import inf
from pathlib import Path
from time import monotonic

from torchsid.errors import DataError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Cell, Job, check, repeats, tuning
from torchsid.study.experiments.parquet import write_parquet
from torchsid.study.experiments.pool import at_once
from torchsid.study.experiments.results import COLUMNS, Results, validation_of
from torchsid.study.experiments.trainer import Outcome, Trainer


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
    """Run what is missing of an experiment, write `results.parquet`, and return all of it.

    Args:
        experiment: from `load` or `choose`.
        out: its folder; the runs are in `out / "runs"`.
        data: folder of the data files, empty where none are needed.
        minutes: after which no further run begins; None runs everything.
        workers: runs at a time, each in a process with one thread; a contender's own `workers` are processes of one run.
        command: what was typed, for the manifests.
        say: called with one line a run.

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

    def train(jobs: Sequence[Job]) -> None:
        """Train those without an outcome, as long as there is time."""
        new = [job for job in jobs if job not in outcomes]
        finished = [job for job in new if trainer.has_finished(job)]
        due = takewhile(lambda _: monotonic() < until, (job for job in new if job not in finished))
        with closing(at_once(trainer, due, workers)) as trained:
            for job, outcome in chain(((job, Outcome()) for job in finished), trained):
                outcomes[job] = outcome
                say(_line(trainer, job, outcome))

    tries = tuning(experiment)
    train(tries)
    rates = _choose(trainer, tries, outcomes)
    chosen = repeats(experiment, rates)
    train(chosen)

    no_data = {job.cell: outcome.no_data for job, outcome in outcomes.items() if outcome.no_data}
    if outcomes and all(outcome.no_data for outcome in outcomes.values()):
        raise DataError(next(iter(no_data.values())))
    finished = [job for job, outcome in outcomes.items() if outcome.finished]
    results = Results(
        experiment=experiment,
        runs={job: trainer.run_of(job).path for job in finished},
        rates={job.cell: job.rate for job in chosen},
        diverged={job: outcome.diverged for job, outcome in outcomes.items() if outcome.diverged},
        no_data=no_data,
        not_run=_not_run(experiment, rates, outcomes),
        command=command,
    )
    write_parquet(results.rows(), COLUMNS, out / "results.parquet")
    return results


def _line(trainer: Trainer, job: Job, outcome: Outcome) -> str:
    took = f"{outcome.seconds:.1f} s" if outcome.seconds else "already there"
    if outcome.finished:
        scores = validation_of(trainer.run_of(job).path)
        result = "validation " + ", ".join(f"{metric} {scores.last(metric):.4g}" for metric in scores.by_stage)
    else:
        result = outcome.no_data or f"diverged: {outcome.diverged}"
    return f"{job.directory:44s} {result}  {took}"


def _choose(trainer: Trainer, tries: Sequence[Job], outcomes: Mapping[Job, Outcome]) -> dict[Cell, float]:
    """Return the best rate of every cell; one that was not tuned with all rates has had less of a chance, and gets none."""
    scores: dict[Cell, dict[float, tuple[float, float]]] = {}
    for job in tries:
        if job in outcomes and outcomes[job].finished:
            validation = validation_of(trainer.run_of(job).path)
            scores.setdefault(job.cell, {})[job.rate] = (validation.last("accuracy"), -validation.last("kl"))
    untuned = {job.cell for job in tries if job not in outcomes}
    return {cell: max(own, key=own.__getitem__) for cell, own in scores.items() if cell not in untuned}


def _not_run(experiment: Experiment, rates: Mapping[Cell, float], outcomes: Mapping[Job, Outcome]) -> dict[Cell, int]:
    """Return how many runs of a cell are missing: the rate of those not tuned yet is unknown, their number is not."""
    tries = tuning(experiment)
    untuned = {job.cell: job.rate for job in tries if job not in outcomes}
    every = dict.fromkeys([*tries, *repeats(experiment, {**untuned, **rates})])
    return Counter(job.cell for job in every if job not in outcomes)
