"""What the page of an experiment is made of: its runs, and how their learning rates were chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torchsid.show.record import RunRecord, load_run
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Cell, Job, cells, tuning
from torchsid.study.experiments.results import Results, Row


@dataclass(frozen=True)
class Trial:
    """One learning rate tried in one cell: accuracy in [0, 1] and KL in nats on validation images, None where the run diverged."""

    job: Job
    validation: float | None
    kl: float | None = None


@dataclass(frozen=True)
class Grid:
    """What of an experiment was run."""

    values: tuple[str, ...]
    seeds: tuple[int, ...]


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
    rows: Sequence[Row] = ()
    """Every number of every run."""

    def cells(self) -> list[Cell]:
        """Return the cells that were run, contender by contender."""
        contenders, points = list(self.experiment.contenders), ["", *self.grid.values]
        found = [cell for cell in cells(self.experiment) if cell.point in points]
        return sorted(found, key=lambda cell: (contenders.index(cell.contender), points.index(cell.point)))

    @classmethod
    def of(cls, results: Results) -> "Result":
        """Return what the pages are made of."""
        experiment = results.experiment
        runs = {job: load_run(path) for job, path in results.runs.items() if job.rate == results.rates.get(job.cell)}
        known = [job for job in tuning(experiment) if job in results.runs or job in results.diverged]
        trials = [trial(job, load_run(results.runs[job]) if job in results.runs else None) for job in known]
        points = {cell.point for cell in results.rates}
        names = experiment.axis.names() if experiment.axis else ()
        seeds = {job.seed for job in runs}
        return cls(
            experiment=experiment,
            grid=Grid(tuple(name for name in names if name in points), tuple(seed for seed in experiment.seeds if seed in seeds)),
            trials=tuple(trials),
            rates=results.rates,
            runs=runs,
            failed=results.diverged,
            missing=tuple(f"{cell}: {reason}" for cell, reason in results.no_data.items()),
            dropped=tuple(f"{number} runs of {cell}" for cell, number in results.not_run.items()),
            command=results.command,
            rows=results.rows,
        )


def trial(job: Job, run: RunRecord | None) -> Trial:
    """Return what a run says of its learning rate; None is one that diverged."""
    validation = run.last.validation if run and run.last else None
    return Trial(job, validation.accuracy[-1], validation.kl[-1]) if validation else Trial(job, None)
