"""From the runs of an experiment to numbers with intervals, and to differences corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Cell, Job, cells, tuning
from torchsid.study.experiments.results import Results
from torchsid.study.frame import Difference, Place, Row, differences, over_seeds, rows_of, whole
from torchsid.study.runs import RunRecord, Scores, load_run

SHOWN = ("accuracy", "best")  # of every experiment: last epoch, and best epoch by validation


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """An experiment, its runs read."""

    results: Results
    cells: Sequence[Cell]
    """Those that have a rate, contender by contender, in the order of the axis."""
    runs: Mapping[Job, RunRecord]
    """Those at the chosen rates."""
    tried: Mapping[Job, Scores | None]
    """The validation of every rate that was tried; None where the run diverged."""
    rows: Sequence[Row]
    """Every number of the runs, `method` being the contender and `at` the point of the axis."""

    @classmethod
    def of(cls, results: Results) -> "Analysis":
        """Read the runs.

        Raises:
            RunError: a file of a run is damaged.
        """
        experiment = results.experiment
        contenders, points = list(experiment.contenders), ["", *_points(experiment)]
        runs = {job: load_run(path) for job, path in results.runs.items() if job.rate == results.rates.get(job.cell)}
        known = [job for job in tuning(experiment) if job in results.runs or job in results.diverged]
        return cls(
            results=results,
            cells=sorted(
                (cell for cell in cells(experiment) if cell in results.rates),
                key=lambda cell: (contenders.index(cell.contender), points.index(cell.point)),
            ),
            runs=runs,
            tried={job: _validation(results, job) for job in known},
            rows=[row for job, run in runs.items() for row in rows_of(run, job.cell.contender, job.cell.point)],
        )

    @property
    def experiment(self) -> Experiment:
        """The question."""
        return self.results.experiment

    @property
    def metrics(self) -> list[str]:
        """The metrics of the experiment, those that are always shown first."""
        return list(dict.fromkeys((*SHOWN, *self.experiment.metrics)))

    @property
    def points(self) -> list[str]:
        """The points of the axis that were run, in its order."""
        run = {cell.point for cell in self.cells}
        return [point for point in _points(self.experiment) if point in run]

    @cached_property
    def means(self) -> list[Row]:
        """Every number over the seeds."""
        return over_seeds(self.rows)

    def mean(self, cell: Cell, metric: str) -> Row | None:
        """Return a number of whole runs with its interval, if there is one."""
        return whole(self.means, metric, cell.contender, cell.point)

    def differences(self, metric: str) -> dict[Place, Difference]:
        """Return every cell less its reference, with p-values corrected for all of them together."""
        pairs: dict[Place, Place] = {}
        for cell in self.cells:
            reference = self.reference_of(cell)
            if reference in self.cells:
                assert reference is not None
                pairs[cell.contender, cell.point] = reference.contender, reference.point
        return differences(self.rows, pairs, metric)

    def reference_of(self, cell: Cell) -> Cell | None:
        """Return what a cell is compared with: the first contender at the same point, or that contender at the reference point."""
        axis, first = self.experiment.axis, next(iter(self.experiment.contenders))
        reference = axis.reference if axis else ""
        if cell.contender == first:
            return Cell(first, reference) if reference and cell.point not in ("", reference) else None
        return Cell(first) if Cell(first) in self.cells else Cell(first, cell.point or reference or next(iter(self.points), ""))


def _points(experiment: Experiment) -> tuple[str, ...]:
    return experiment.axis.names() if experiment.axis else ()


def _validation(results: Results, job: Job) -> Scores | None:
    return load_run(results.runs[job]).scores.get(("last", "validation")) if job in results.runs else None
