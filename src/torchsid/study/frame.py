"""The one tidy frame of results: a row a number, with all that tells it apart; means over seeds and paired differences of rows.

`METRICS` are the numbers of whole runs, with the name and the unit in which they are shown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, nan
from statistics import fmean, median
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from torchsid.show.plots.points import Point
from torchsid.show.tables import duration, minus, number
from torchsid.study.runs import RunRecord
from torchsid.study.sequence import forgetting, mean_over_groups
from torchsid.study.statistics import (
    Estimate,
    PairedDifference,
    holm,
    mean_interval,
    paired_seeds,
    proportion_interval,
)


@dataclass(frozen=True)
class Metric:
    """A number of a run; `of` returns None where the run does not have it."""

    label: str
    unit: str
    of: Callable[[RunRecord], float | None]
    factor: float = 1.0  # from the number to what is shown
    share: bool = False  # whether it is the share of the held-out samples that are answered rightly

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def text(self, value: float) -> str:
        """Return a value as it is shown: per cent with two decimals, anything else with three digits."""
        shown = self.factor * value
        return duration(shown) if self.unit == "s" else minus(f"{shown:.2f}") if self.unit == "%" else number(shown)

    def difference(self, value: float) -> str:
        """Return a difference as it is shown, with its sign."""
        shown = self.factor * value
        return minus(f"{round(shown, 2) + 0.0:+.2f}") if self.unit == "%" else number(shown, "+")  # + 0.0 turns −0.0 into 0.0


def conflict(run: RunRecord) -> list[tuple[int, NDArray[np.float64]]]:
    """Return epoch and cosines `[L, L]` between the stages' gradients for every epoch that recorded them, L ≥ 2."""
    matrices = [(event["epoch"], np.array(event.get("conflict"), dtype=float)) for event in run.epochs]
    return [(epoch, matrix) for epoch, matrix in matrices if matrix.ndim == 2 and len(matrix) > 1]


def mean_cosine(matrix: NDArray[np.float64]) -> float:
    """Return the mean of what lies beside the diagonal of cosines `[L, L]`; NaN where none is finite."""
    found = _mean(matrix[~np.eye(len(matrix), dtype=bool)])
    return nan if found is None else found


def _of(metric: str, which: Literal["best", "last"]) -> Callable[[RunRecord], float | None]:
    """Return what reads a number of the last stage off the held-out evaluation of some weights."""

    def read(run: RunRecord) -> float | None:
        scores = run.held_out(which) if which == "last" or run.chosen == "best" else None
        return scores.last(metric) if scores else None

    return read


def _seconds(run: RunRecord) -> float | None:
    """Return the training time; the sum over the epochs while the manifest does not have it yet."""
    return run.manifest.get("train_seconds") or sum(event.get("seconds") or 0.0 for event in run.epochs) or None


def _throughput(run: RunRecord) -> float | None:
    """Return the median over epochs: the first one pays for warming up, and a busy machine makes outliers."""
    rates = [rate for event in run.epochs if (rate := event.get("samples_per_second")) is not None]
    return median(rates) if rates else None


def _speed(run: RunRecord) -> float | None:
    return _mean(found for event in run.epochs if (found := _validated("accuracy")(event)) is not None)


def _validated(metric: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Return what reads a number of the last stage off an epoch's validation; of numbers, whose bins are many, no accuracy."""

    def read(event: Mapping[str, Any]) -> float | None:
        found = event.get("validation") or {}
        scores = found.get("scores", {})
        known = {**found, **scores}
        return None if metric not in known or (metric == "accuracy" and "mae" in scores) else known[metric][-1]

    return read


def _area(run: RunRecord) -> float | None:
    """Return the mean over the epochs of what validation episodes have brought: the area under that curve."""
    return _mean(found for event in run.epochs if (found := _validated("return")(event)) is not None)


def _rising(run: RunRecord) -> float | None:
    scores = run.held_out("last")
    return sum(b > a for a, b in pairwise(scores.by_stage["kl"][1:])) if scores else None


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if isfinite(value)]
    return fmean(known) if known else None


METRICS = {
    "accuracy": Metric("accuracy, last epoch", "%", _of("accuracy", "last"), 100, share=True),
    "best": Metric("accuracy, best epoch by validation", "%", _of("accuracy", "best"), 100, share=True),
    "kl": Metric("KL of the last stage", "nats", _of("kl", "last")),
    "best-kl": Metric("KL of the last stage, best epoch", "nats", _of("kl", "best")),
    "ece": Metric("calibration error", "%", _of("ece", "last"), 100),
    "return": Metric("return, last epoch", "", _of("return", "last")),
    "best-return": Metric("return, best epoch by validation", "", _of("return", "best")),
    "return-area": Metric("validation return, mean over the epochs", "", _area),
    "mae": Metric("mean absolute error", "", _of("mae", "last")),
    "best-mae": Metric("mean absolute error, best epoch", "", _of("mae", "best")),
    "rmse": Metric("root mean squared error", "", _of("rmse", "last")),
    "r2": Metric("R²", "", _of("r2", "last")),
    "coverage": Metric("numbers within their interval", "%", _of("coverage", "last"), 100),
    "speed": Metric("validation accuracy, mean over the epochs", "%", _speed, 100),
    "rising": Metric("stages at which KL rises", "", _rising),
    "cosine": Metric("cosine between the stages' gradients", "", lambda run: _mean(mean_cosine(each) for _, each in conflict(run))),
    "kept": Metric("kept for backward", "MiB", lambda run: run.manifest.get("kept_bytes"), 2.0**-20),
    "groups": Metric("accuracy, last epoch, mean over groups", "%", mean_over_groups, 100),
    "forgetting": Metric("forgetting, validation", "%", forgetting, 100),
    "remembered": Metric("kept beside the network", "MiB", lambda run: run.manifest.get("remembered_bytes"), 2.0**-20),
    "seconds": Metric("training time", "s", _seconds),
    "throughput": Metric("samples a second", "", _throughput),
    "memory": Metric("peak memory of the process", "MiB", lambda run: run.manifest.get("peak_memory_mib")),
}
"""Numbers of a whole run."""

BY_STAGE = {
    "return": ("Return of the episodes that a stage plays", 1.0),
    "accuracy": ("Accuracy, %", 100.0),
    "mae": ("Mean absolute error", 1.0),
    "kl": ("KL(target ‖ belief), nats", 1.0),
    "ece": ("Calibration error, %", 100.0),
    "agreement": ("Answers as the last stage's, %", 100.0),
    "coverage": ("Numbers within their interval, %", 100.0),
}
"""Numbers after every stage: title, and factor to what is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A number of a run, or with an interval its mean over runs that differ in their seed."""

    method: str
    metric: str  # of `METRICS` for the whole run; of the evaluation for a stage; of metrics.jsonl for an epoch
    value: float
    at: str = ""  # value of the setting along which the methods were compared, if any
    seed: int | None = None
    weights: str = ""
    split: str = ""
    stage: int | None = None  # 0 is the prior
    epoch: int | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0  # how many samples it is a share of, or how many seeds it is the mean of

    def point(self, factor: float = 1.0) -> Point:
        """Return the number, times a factor, with its interval, as plots take it."""
        return Point(factor * self.value, *(None if end is None else factor * end for end in (self.low, self.high)))


class Case(NamedTuple):
    """A method, and a value of the setting along which methods are compared; the value is empty where there is none."""

    method: str
    at: str = ""

    def __str__(self) -> str:
        return " at ".join(filter(None, self))


_OF_EPOCHS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "train_loss": lambda event: event.get("train_loss"),
    "train_accuracy": lambda event: (event.get("train_accuracy") or [None])[-1],
    "validation_accuracy": _validated("accuracy"),
    "validation_return": _validated("return"),
    "validation_mae": _validated("mae"),
    "validation_loss": lambda event: event["validation"].get("loss") if event.get("validation") else None,
    "samples_per_second": lambda event: event.get("samples_per_second"),
    "memory_mib": lambda event: event.get("memory_mib"),
}


def rows_of(run: RunRecord, method: str, at: str = "") -> Iterator[Row]:
    """Yield all numbers of a run; what it did not record, or what is not finite, is left out."""

    def known(metric: str, value: float | None, **place: Any) -> Iterator[Row]:
        if value is not None and isfinite(value):
            yield Row(method=method, at=at, seed=run.seed, metric=metric, value=float(value), **place)

    held_out = run.held_out("last")
    for name, metric in METRICS.items():
        yield from known(name, metric.of(run), n=held_out.n if metric.share and held_out else 0)
    for (which, split), scores in run.scores.items():
        for name, values in scores.by_stage.items():
            place = {"weights": which, "split": split, "n": scores.n if name == "accuracy" else 0}
            for stage, value in enumerate(values):
                yield from known(name, value, stage=stage, **place)
    for event in run.epochs:
        for name, read in _OF_EPOCHS.items():
            yield from known(name, read(event), epoch=event["epoch"])


def select(rows: Iterable[Row], **where: object) -> list[Row]:
    """Return the rows with these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]


def over_seeds(rows: Iterable[Row], *, intervals: bool = True) -> list[Row]:
    """Return one row for all that differ in nothing but their seed: the mean, and with `intervals` its 95 % interval.

    Over several seeds it is Student's; a share of one seed has Wilson's over its samples.
    """
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        groups.setdefault(replace(row, value=0.0, seed=None, n=0), []).append(row)
    means = []
    for head, members in groups.items():
        values, n = [row.value for row in members], members[0].n
        if intervals and len(values) > 1:
            found = mean_interval(values)
        elif intervals and n:
            found = proportion_interval(round(values[0] * n), n)
        else:
            found = Estimate(fmean(values), None, None, len(values))
        means.append(replace(head, value=found.mean, low=found.low, high=found.high, n=found.n))
    return means


@dataclass(frozen=True)
class Difference:
    """A method at a value, less its reference."""

    place: Case
    reference: Case
    metric: str
    paired: PairedDifference
    over: str = "seeds"  # what was paired: seeds, or samples of a split
    corrected: float | None = None  # the p-value after Holm's correction for the number of comparisons of this metric


@dataclass(frozen=True)
class Frame:
    """All numbers of some runs, and what follows from them."""

    rows: Sequence[Row]
    means: Sequence[Row]  # every number over the seeds

    @classmethod
    def of(cls, rows: Iterable[Row], *, intervals: bool = True) -> Self:
        """Return rows with their means, see `over_seeds`."""
        rows = list(rows)
        return cls(rows, over_seeds(rows, intervals=intervals))

    def mean(self, place: Case, metric: str) -> Row | None:
        """Return a number of whole runs over the seeds, if there is one."""
        return next(iter(select(self.means, metric=metric, method=place.method, at=place.at, stage=None, epoch=None)), None)

    def by_seed(self, metric: str) -> dict[Case, dict[int, float]]:
        """Return a number of whole runs by method and value, and by seed."""
        found: dict[Case, dict[int, float]] = {}
        for row in select(self.rows, metric=metric, stage=None, epoch=None):
            if row.seed is not None:
                found.setdefault(Case(row.method, row.at), {})[row.seed] = row.value
        return found

    def differences(self, pairs: Mapping[Case, Case], metric: str) -> dict[Case, Difference]:
        """Return the differences in one of `METRICS` between pairs, over the seeds in common; pairs without any are left out."""
        values, found = self.by_seed(metric), []
        for place, reference in pairs.items():
            a, b = values.get(place, {}), values.get(reference, {})
            if a.keys() & b.keys():
                found.append(Difference(place, reference, metric, paired_seeds(a, b)))
        corrected = holm([each.paired.p_value for each in found])
        return {each.place: replace(each, corrected=p) for each, p in zip(found, corrected, strict=True)}
