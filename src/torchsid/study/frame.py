"""The one tidy frame of results: a row a number, with all that tells it apart; means over seeds and paired differences of rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from torchsid.show.plots.points import Point
from torchsid.study.metrics import METRICS
from torchsid.study.runs import RunRecord, samples_per_second
from torchsid.study.statistics import (
    Interval,
    PairedDifference,
    holm,
    mean_interval,
    paired_effect,
    paired_seeds,
    proportion_interval,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A number of a run, or with an interval its mean over runs that differ in their seed."""

    method: str
    metric: str
    """Of `METRICS` for the whole run; of the evaluation for a stage; of metrics.jsonl for an epoch."""
    value: float
    at: str = ""
    """Value of the setting along which the methods were compared, if any."""
    seed: int | None = None
    weights: str = ""
    split: str = ""
    stage: int | None = None
    """0 is the prior."""
    epoch: int | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    """How many samples it is a share of, or how many seeds it is the mean of."""

    def point(self, factor: float = 1.0) -> Point:
        """Return the number, times a factor, with its interval, as plots take it."""
        return Point(factor * self.value, *(None if end is None else factor * end for end in (self.low, self.high)))


Place = tuple[str, str]
"""A method, and a value along the axis."""

_OF_EPOCHS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "train_loss": lambda event: event.get("train_loss"),
    "train_accuracy": lambda event: (event.get("train_accuracy") or [None])[-1],
    "validation_accuracy": lambda event: event["validation"]["accuracy"][-1] if event.get("validation") else None,
    "samples_per_second": samples_per_second,
    "memory_mib": lambda event: event.get("memory_mib"),
}


def rows_of(run: RunRecord, method: str, at: str = "") -> Iterator[Row]:
    """Yield all numbers of a run; what it did not record, or what is not finite, is left out."""

    def row(metric: str, value: float, **place: Any) -> Row:
        return Row(method=method, at=at, seed=run.seed, metric=metric, value=float(value), **place)

    held_out = run.held_out("last")
    for name, metric in METRICS.items():
        value = metric.of(run)
        if value is not None and isfinite(value):
            yield row(name, value, n=held_out.n if metric.share and held_out else 0)
    for (which, split), scores in run.scores.items():
        for name, values in scores.by_stage.items():
            for stage, value in enumerate(values):
                if isfinite(value):
                    yield row(name, value, weights=which, split=split, stage=stage, n=scores.n if name == "accuracy" else 0)
    for event in run.epochs:
        for name, read in _OF_EPOCHS.items():
            value = read(event)
            if value is not None and isfinite(value):
                yield row(name, value, epoch=event["epoch"])


def over_seeds(rows: Iterable[Row], *, intervals: bool = True) -> list[Row]:
    """Return one row for all that differ in nothing but their seed: the mean, and with `intervals` its 95 % interval.

    Over several seeds it is Student's; a share of one seed has Wilson's over its samples.
    """
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        groups.setdefault(replace(row, value=0.0, seed=None, n=0), []).append(row)
    return [_mean(head, members, intervals=intervals) for head, members in groups.items()]


def _mean(head: Row, members: Sequence[Row], *, intervals: bool) -> Row:
    only = members[0]
    if not intervals or (len(members) == 1 and not only.n):
        found = Interval(sum(row.value for row in members) / len(members), None, None, len(members))
    elif len(members) == 1:
        found = proportion_interval(round(only.value * only.n), only.n)
    else:
        found = mean_interval([row.value for row in members])
    return replace(head, value=found.mean, low=found.low, high=found.high, n=found.n)


def select(rows: Iterable[Row], **where: object) -> list[Row]:
    """Return the rows with these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]


def whole(rows: Iterable[Row], metric: str, method: str, at: str = "") -> Row | None:
    """Return a number of whole runs, of rows over seeds; None where there is none."""
    return next(iter(select(rows, metric=metric, method=method, at=at, stage=None, epoch=None)), None)


def of_runs(rows: Iterable[Row], metric: str) -> dict[Place, dict[int, float]]:
    """Return a number of whole runs by method and value, and by seed."""
    found: dict[Place, dict[int, float]] = {}
    for row in rows:
        if row.metric == metric and row.stage is None and row.epoch is None and row.seed is not None:
            found.setdefault((row.method, row.at), {})[row.seed] = row.value
    return found


@dataclass(frozen=True)
class Difference:
    """A method at a value, less its reference."""

    place: Place
    reference: Place
    metric: str
    paired: PairedDifference
    over: str = "seeds"
    """What was paired: seeds, or samples of a split."""
    effect: float | None = None
    """Cohen's d of paired samples."""
    corrected: float | None = None
    """The p-value after Holm's correction for the number of comparisons of this metric."""


def differences(rows: Iterable[Row], pairs: Mapping[Place, Place], metric: str) -> dict[Place, Difference]:
    """Return the differences in a number of whole runs, paired over common seeds; pairs without any are left out.

    Args:
        rows: of all runs.
        pairs: what is compared with what.
        metric: a name of `METRICS`.
    """
    values = of_runs(rows, metric)
    found = []
    for place, reference in pairs.items():
        a, b = values.get(place, {}), values.get(reference, {})
        if a.keys() & b.keys():
            found.append(Difference(place, reference, metric, paired_seeds(a, b), effect=paired_effect(a, b)))
    corrected = holm([each.paired.p_value for each in found])
    return {each.place: replace(each, corrected=p) for each, p in zip(found, corrected, strict=True)}
