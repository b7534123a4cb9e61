"""From runs to numbers with intervals: a summary a cell, a contrast for every comparison, corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean, stdev

from torchsid.study.experiments.grid import Cell
from torchsid.study.experiments.metrics import METRICS
from torchsid.study.experiments.result import Result
from torchsid.study.statistics import Interval, PairedDifference, mean_interval, paired_seeds

SHOWN = ("accuracy", "best")  # of every experiment: last epoch, and best epoch by validation
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Summary:
    """A cell at its rate."""

    cell: Cell
    rate: float | None
    """None where every rate diverged."""
    by_seed: Mapping[str, BySeed]
    """Metric to seed to value."""
    diverged: tuple[int, ...]
    """Seeds whose run diverged at the chosen rate."""

    def interval(self, metric: str) -> Interval | None:
        """Return the mean over seeds with Student's 95 % interval; None when no run has the metric."""
        values = list(self.by_seed[metric].values())
        return mean_interval(values) if values else None


@dataclass(frozen=True)
class Contrast:
    """A cell less its reference, paired over the seeds that both have."""

    cell: Cell
    reference: Cell
    metric: str
    paired: PairedDifference
    effect: float | None
    """Cohen's d of paired samples."""
    by_seed: BySeed
    """The differences themselves."""
    corrected: float | None = None
    """The p-value after Holm's correction for the number of comparisons of this metric."""


def metrics_of(result: Result) -> tuple[str, ...]:
    """Return the metrics of the experiment, those that are always shown first."""
    return tuple(dict.fromkeys((*SHOWN, *result.experiment.metrics)))


def summaries(result: Result) -> dict[Cell, Summary]:
    """Return the summary of every cell, in the order of contenders and values."""
    return {cell: _summary(result, cell) for cell in result.cells()}


def _summary(result: Result, cell: Cell) -> Summary:
    rate = result.rates.get(cell)
    by_seed: dict[str, dict[int, float]] = {name: {} for name in metrics_of(result)}
    for job, run in result.runs.items():
        if job.cell == cell:
            values = ((name, METRICS[name].of(run)) for name in by_seed)
            for name, value in values:
                if value is not None and isfinite(value):
                    by_seed[name][job.seed] = value
    return Summary(cell, rate, by_seed, tuple(job.seed for job in result.failed if (job.cell, job.rate) == (cell, rate)))


def contrasts(result: Result, metric: str = "accuracy") -> list[Contrast]:
    """Return every cell of the experiment less its reference, with p-values corrected for all of them together."""
    found = summaries(result)
    raw = []
    for cell in found:
        reference = reference_of(result, cell)
        if reference in found:
            a, b = found[cell].by_seed[metric], found[reference].by_seed[metric]
            if a.keys() & b.keys():
                differences = {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}
                raw.append(Contrast(cell, reference, metric, paired_seeds(a, b), paired_effect(a, b), differences))
    return [replace(each, corrected=p) for each, p in zip(raw, holm([each.paired.p_value for each in raw]), strict=True)]


def reference_of(result: Result, cell: Cell) -> Cell | None:
    """Return what a cell is compared with: the first contender at the same value, or that contender at the reference value."""
    experiment, axis = result.experiment, result.experiment.axis
    first = next(iter(experiment.contenders))
    stands_beside = Cell(first) in result.cells()
    if cell.contender != first:
        if stands_beside:
            return Cell(first)
        return Cell(first, cell.point or (axis.reference if axis else "") or result.grid.values[0])
    return Cell(first, axis.reference) if axis and axis.reference and cell.point not in ("", axis.reference) else None


def paired_effect(a: BySeed, b: BySeed) -> float | None:
    """Return Cohen's d of paired samples, `mean(a − b) / s(a − b)`; None for fewer than two pairs or without any spread."""
    differences = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    if len(differences) < 2 or stdev(differences) == 0:
        return None
    return fmean(differences) / stdev(differences)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by Holm's step-down method (1979); None, of a single pair, stays None and does not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected
