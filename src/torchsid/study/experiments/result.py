"""What an experiment left: its runs, how their learning rates were chosen, and tidy rows of both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from torchsid.show.record import RunRecord, Split, Weights
from torchsid.study.experiments.grid import Cell, Grid, Job, position
from torchsid.study.experiments.plan import Experiment

Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One learning rate tried in one cell: accuracy in [0, 1] and KL in nats on validation images, None where the run diverged."""

    job: Job
    validation: float | None
    kl: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished experiment."""

    experiment: Experiment
    grid: Grid
    trials: tuple[Trial, ...]
    rates: Mapping[Cell, float]
    """The rate that each cell was run with; a cell all of whose rates diverged is missing."""
    runs: Mapping[Job, RunRecord]
    """Those at the chosen rates."""
    failed: Mapping[Job, str]
    """Runs that diverged, and how."""
    missing: tuple[str, ...] = ()
    """What the data at hand did not allow, in words."""
    dropped: tuple[str, ...] = ()
    """What the budget did not allow, in words."""
    command: str = ""
    """What was typed, the folder of the data named DIR."""


def validation_accuracy(run: RunRecord) -> float | None:
    """Return the accuracy after the last epoch by which learning rates are chosen; test images have no part in it."""
    return run.last.validation.accuracy[-1] if run.last and run.last.validation else None


def trial(job: Job, run: RunRecord | None) -> Trial:
    """Return what a run says of its learning rate; None is one that diverged."""
    validation = run.last.validation if run and run.last else None
    return Trial(job, validation.accuracy[-1], validation.kl[-1]) if validation else Trial(job, None)


def chosen_rates(trials: tuple[Trial, ...]) -> dict[Cell, float]:
    """Return the rate of the best validation accuracy of every cell; of equal ones, which few images often give, the least KL."""
    best: dict[Cell, tuple[tuple[float, float], float]] = {}
    for each in trials:
        if each.validation is not None:
            found = (each.validation, -inf if each.kl is None else -each.kl)
            if each.job.cell not in best or found > best[each.job.cell][0]:
                best[each.job.cell] = found, each.job.rate
    return {cell: rate for cell, (_, rate) in best.items()}


def tidy(result: Result) -> Iterator[Row]:
    """Yield one row for every run at its chosen rate, kind of weights, split and stage, and one for every trial's validation."""
    for job, run in result.runs.items():
        about = {**_about(result.experiment, job), "phase": "result", **_costs(run)}
        for which, weights in (("best", run.best), ("last", run.last)):
            for split, scores in _splits(weights):
                for stage in range(1, len(scores.accuracy)):
                    yield {
                        **about,
                        "weights": which,
                        "epoch": weights.epoch if weights else None,
                        "split": split,
                        **_at(scores, stage),
                    }
    for each in result.trials:
        about = {**_about(result.experiment, each.job), "phase": "tuning"}
        yield {**about, "weights": "last", "split": "validation", "accuracy": each.validation, "kl": each.kl}


COLUMNS = {
    **dict.fromkeys(("experiment", "size", "phase", "contender", "value", "run", "weights", "split"), "string"),
    **dict.fromkeys(("seed", "epoch", "stage", "images"), "int64"),
    **dict.fromkeys(("x", "rate", "accuracy", "kl", "ece", "train_seconds", "kept_bytes"), "float64"),
}
"""Of a tidy row, with Arrow's types; what a row lacks is null."""


def _about(experiment: Experiment, job: Job) -> Row:
    return {
        "experiment": experiment.name,
        "size": experiment.size,
        "contender": job.cell.contender,
        "value": job.cell.value or None,
        "x": position(experiment, job.cell.value),
        "rate": job.rate,
        "seed": job.seed,
        "run": job.directory,
    }


def _costs(run: RunRecord) -> Row:
    return {"train_seconds": run.train_seconds, "kept_bytes": run.manifest.get("kept_bytes")}


def _splits(weights: Weights | None) -> list[tuple[str, Split]]:
    both = [("validation", weights.validation), ("test", weights.test)] if weights else []
    return [(name, split) for name, split in both if split is not None]


def _at(scores: Split, stage: int) -> Row:
    return {
        "stage": stage,
        "images": scores.n,
        "accuracy": scores.accuracy[stage],
        "kl": scores.kl[stage],
        "ece": scores.ece[stage],
    }
