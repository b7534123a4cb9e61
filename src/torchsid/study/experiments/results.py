"""What came of an experiment: its runs, numbers with intervals, and differences corrected for their number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Job, cells, tuning
from torchsid.study.frame import Case, Difference, Frame, rows_of
from torchsid.study.runs import RunRecord, Scores

SHOWN = ("accuracy", "best")  # of every experiment: last epoch, and best epoch by validation
_RUN = {"contender": "string", "point": "string", "rate": "float64", "seed": "int64", "chosen": "bool_", "run": "string"}
_WITHIN = {"weights": "string", "split": "string", "stage": "int64", "epoch": "int64"}
COLUMNS = {**_RUN, **_WITHIN, "metric": "string", "value": "float64"}
"""Of a row, with Arrow's types. `point` is null beside the axis; `chosen` says whether the tuning chose `rate`; `run` is the run
directory's name. Numbers of the whole run have neither weights, split, stage (0 is the prior) nor epoch."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """An experiment as far as it was run."""

    experiment: Experiment
    finished: Mapping[Job, RunRecord]
    """Its finished runs, those at rates that were not chosen among them."""
    rates: Mapping[Case, float]
    """The learning rate of every cell that was tuned; without those all of whose rates diverged."""
    diverged: Mapping[Job, str]
    """Where runs met NaN or infinity."""
    no_data: Mapping[Case, str]
    """Why the data of a cell cannot be read."""
    not_run: Mapping[Case, int]
    """The number of runs of a cell that the time did not allow. A cell that was tuned in part has no rate, and no results."""
    command: str = ""
    """What was typed, the folder of the data named DIR."""

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
        return list(dict.fromkeys((*SHOWN, *self.experiment.metrics)))

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
