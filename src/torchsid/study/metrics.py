"""What is read off a run: one number each, with the name and the unit in which it is shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, nan
from statistics import fmean

from torchsid.show.text import duration, minus, number, signed
from torchsid.study.runs import RunRecord, Which


@dataclass(frozen=True)
class Metric:
    """A number of a run; `of` returns None where the run does not have it."""

    label: str
    unit: str
    of: Callable[[RunRecord], float | None]
    factor: float = 1.0
    """From the number to what is shown."""
    share: bool = False
    """Whether it is the share of the held-out samples that are answered rightly."""

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
        return signed(minus(f"{round(shown, 2) + 0.0:.2f}") if self.unit == "%" else number(shown))  # + 0.0 turns −0.0 into 0.0


def conflict(run: RunRecord) -> list[tuple[int, list[list[float]]]]:
    """Return epoch and cosines `[L, L]` between the stages' gradients for every epoch that recorded them, L ≥ 2."""
    matrices = [(event["epoch"], event.get("conflict")) for event in run.epochs]
    return [
        (epoch, [[nan if value is None else float(value) for value in row] for row in matrix])
        for epoch, matrix in matrices
        if isinstance(matrix, list) and len(matrix) > 1
    ]


def _of(metric: str, which: Which) -> Callable[[RunRecord], float | None]:
    """Return what reads a number of the last stage off the held-out evaluation of some weights."""

    def read(run: RunRecord) -> float | None:
        scores = run.held_out(which) if which == "last" or run.chosen == "best" else None
        return scores.last(metric) if scores else None

    return read


def _speed(run: RunRecord) -> float | None:
    return _mean(event["validation"]["accuracy"][-1] for event in run.epochs if event.get("validation"))


def _rising(run: RunRecord) -> float | None:
    scores = run.held_out("last")
    return sum(b > a for a, b in pairwise(scores.by_stage["kl"][1:])) if scores else None


def _cosine(run: RunRecord) -> float | None:
    """Return the mean over the epochs of the mean cosine between the gradients of different stages."""
    return _mean(
        mean
        for _, matrix in conflict(run)
        if (mean := _mean(value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j)) is not None
    )


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if isfinite(value)]
    return fmean(known) if known else None


METRICS = {
    "accuracy": Metric("accuracy, last epoch", "%", _of("accuracy", "last"), 100, share=True),
    "best": Metric("accuracy, best epoch by validation", "%", _of("accuracy", "best"), 100, share=True),
    "kl": Metric("KL of the last stage", "nats", _of("kl", "last")),
    "ece": Metric("calibration error", "%", _of("ece", "last"), 100),
    "speed": Metric("validation accuracy, mean over the epochs", "%", _speed, 100),
    "rising": Metric("stages at which KL rises", "", _rising),
    "cosine": Metric("cosine between the stages' gradients", "", _cosine),
    "kept": Metric("kept for backward", "MiB", lambda run: run.manifest.get("kept_bytes"), 2.0**-20),
    "seconds": Metric("training time", "s", lambda run: run.train_seconds),
    "throughput": Metric("samples a second", "", lambda run: run.throughput),
    "memory": Metric("peak memory of the process", "MiB", lambda run: run.manifest.get("peak_memory_mib")),
}
"""Numbers of a whole run."""

BY_STAGE = {"accuracy": ("accuracy, %", 100.0), "kl": ("KL(target ‖ belief), nats", 1.0), "ece": ("calibration error, %", 100.0)}
"""Numbers after every stage: label and factor."""
