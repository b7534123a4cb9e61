"""What is read off a finished run: one number each, in the unit in which it is shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from statistics import fmean

from torchsid.show.text import number
from torchsid.study.runs import RunRecord
from torchsid.study.runs import Scores as Split


@dataclass(frozen=True)
class Metric:
    """A number of a run; `of` returns None where the run does not have it."""

    label: str
    unit: str
    of: Callable[[RunRecord], float | None]

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def text(self, value: float) -> str:
        """Return a value as it is shown: per cent with two decimals, anything else with three digits."""
        return f"{value:.2f}" if self.unit == "%" else number(value)


def _last(of: Callable[[Split], float]) -> Callable[[RunRecord], float | None]:
    """Return what reads a number off the held-out evaluation of the last weights."""

    def read(run: RunRecord) -> float | None:
        split = run.last.held_out if run.last else None
        return of(split) if split else None

    return read


def _best_accuracy(run: RunRecord) -> float | None:
    split = run.best.held_out if run.best else None
    return 100 * split.accuracy[-1] if split else None


def _speed(run: RunRecord) -> float | None:
    accuracies = [epoch["validation"]["accuracy"][-1] for epoch in run.epochs if epoch.get("validation")]
    return 100 * fmean(accuracies) if accuracies else None


def _cosine(run: RunRecord) -> float | None:
    """Return the mean over the epochs of the mean cosine between the gradients of different stages."""
    return _mean(_mean(_off_diagonal(epoch["conflict"])) for epoch in run.epochs if epoch.get("conflict"))


def _off_diagonal(matrix: list[list[float | None]]) -> list[float | None]:
    return [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and isfinite(value)]
    return fmean(known) if known else None


METRICS = {
    "accuracy": Metric("accuracy, last epoch", "%", _last(lambda split: 100 * split.accuracy[-1])),
    "best": Metric("accuracy, best epoch by validation", "%", _best_accuracy),
    "kl": Metric("KL of the last stage", "nats", _last(lambda split: split.kl[-1])),
    "ece": Metric("calibration error", "%", _last(lambda split: 100 * split.ece[-1])),
    "speed": Metric("validation accuracy, mean over the epochs", "%", _speed),
    "rising": Metric("stages at which KL rises", "", _last(lambda split: sum(b > a for a, b in pairwise(split.kl[1:])))),
    "cosine": Metric("cosine between the stages' gradients", "", _cosine),
    "kept": Metric("kept for backward", "MiB", lambda run: _scaled(run.manifest.get("kept_bytes"), 2**20)),
    "seconds": Metric("training time", "s", lambda run: run.train_seconds),
}
"""By the name that an experiment uses; `accuracy` and `best` are always shown."""

BY_STAGE = {"accuracy": ("accuracy, %", 100), "kl": ("KL(label ‖ belief), nats", 1), "ece": ("calibration error, %", 100)}
"""What an experiment may draw after every stage: its name in the evaluation, its label, and its factor."""


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
