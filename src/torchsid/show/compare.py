"""Methods side by side: every number with its interval, every difference paired."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from torchsid.errors import RunError
from torchsid.show.methods import Method, gather
from torchsid.show.record import RunRecord, Split, Weights, load_run
from torchsid.study.statistics import (
    Interval,
    PairedDifference,
    mean_interval,
    paired_difference,
    paired_seeds,
    proportion_interval,
)

Choice = Callable[[RunRecord], Weights | None]  # of one of the saved weights of a run


@dataclass(frozen=True)
class Score:
    """What one kind of weights (best on validation, or last) reaches on the held-out split, over the seeds."""

    epochs: tuple[int, ...]
    accuracy: Interval  # over seeds; Wilson's over the samples for one seed
    kl: Interval
    ece: Interval
    split: str  # "test" or "validation"


@dataclass(frozen=True)
class Row:
    """One method of a comparison. A score is None until a run of the method has been evaluated."""

    method: Method
    best: Score | None
    last: Score | None
    chosen: Score | None  # the one to quote, see RunRecord.chosen
    difference: PairedDifference | None  # accuracy of this method minus that of the first; None for the first
    difference_last: PairedDifference | None  # the same of the last weights
    paired_over: str | None  # "seeds", "test samples" or "validation samples"
    train_seconds: Interval | None
    samples_per_second: Interval | None
    peak_memory_mib: Interval | None
    kept_bytes: Interval | None  # for backward in a training step, at most


@dataclass(frozen=True)
class Comparison:
    """Rows in the order given, the first being the reference; `notes` says what limits the comparison."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods compared."""
        return tuple(row.method for row in self.rows)


def comparison(runs: Sequence[str | Path | RunRecord]) -> Comparison:
    """Compare runs, given as directories or as records.

    Runs that differ in nothing but the seed become one row: mean and 95 % interval over the seeds. With one seed the
    interval of the accuracy is Wilson's over the samples. A difference to the first row is paired over the seeds when
    both methods have at least two in common, and over the samples of the same test set otherwise.

    Raises:
        RunError: No runs are given, or one cannot be read.
    """
    if not runs:
        raise RunError("no runs given; name one run directory at least")
    records = [run if isinstance(run, RunRecord) else load_run(run) for run in runs]
    unique = list({record.path: record for record in records}.values())
    methods = gather(unique)
    return Comparison(tuple(_row(method, methods[0]) for method in methods), tuple(_notes(methods)))


def _row(method: Method, reference: Method) -> Row:
    difference, paired_over = (None, None) if method is reference else _difference(method, reference, lambda run: run.chosen)
    difference_last, _ = (None, None) if method is reference else _difference(method, reference, lambda run: run.last)
    return Row(
        method=method,
        best=_score([run.best for run in method.runs if run.best is not None and run.best.validation is not None]),
        last=_score([run.last for run in method.runs if run.last is not None]),
        chosen=_score([run.chosen for run in method.evaluated if run.chosen is not None]),
        difference=difference,
        difference_last=difference_last,
        paired_over=paired_over,
        train_seconds=_measured(method, lambda run: run.train_seconds),
        samples_per_second=_measured(method, _throughput),
        peak_memory_mib=_measured(method, lambda run: run.manifest.get("peak_memory_mib")),
        kept_bytes=_measured(method, lambda run: run.manifest.get("kept_bytes")),
    )


def _score(weights: list[Weights]) -> Score | None:
    held_out = [(entry, entry.held_out) for entry in weights]
    scored = [(entry, split) for entry, split in held_out if split is not None]
    if not scored:
        return None
    splits = [split for _, split in scored]
    accuracy = mean_interval([split.accuracy[-1] for split in splits])
    if len(splits) == 1:
        accuracy = proportion_interval(round(splits[0].accuracy[-1] * splits[0].n), splits[0].n)
    return Score(
        epochs=tuple(entry.epoch for entry, _ in scored),
        accuracy=accuracy,
        kl=_mean_of([split.kl[-1] for split in splits]),
        ece=_mean_of([split.ece[-1] for split in splits]),
        split="test" if scored[0][0].test is not None else "validation",
    )


def _mean_of(values: list[float]) -> Interval:
    """Return the interval over seeds; a KL may be infinite or unknown, and then is shown as it is."""
    if all(map(isfinite, values)):
        return mean_interval(values)
    return Interval(sum(values) / len(values), None, None, len(values))


def _measured(method: Method, measure: Callable[[RunRecord], float | None]) -> Interval | None:
    values = [float(value) for run in method.runs if (value := measure(run)) is not None]
    return mean_interval(values) if values and all(map(isfinite, values)) else None


def _throughput(run: RunRecord) -> float | None:
    """Return the median over epochs: the first one pays for warming up, and a busy machine makes outliers."""
    rates = sorted(rate for epoch in run.epochs if (rate := epoch.get("samples_per_second")) is not None)
    if not rates:
        return None
    middle = len(rates) // 2
    return float(rates[middle] if len(rates) % 2 else (rates[middle - 1] + rates[middle]) / 2)


def _difference(method: Method, reference: Method, weights: Choice) -> tuple[PairedDifference | None, str | None]:
    mine, theirs = _by_seed(method, weights), _by_seed(reference, weights)
    common = sorted(mine.keys() & theirs.keys())
    if len(common) > 1:
        first, second = ({seed: split.accuracy[-1] for seed, split in splits.items()} for splits in (mine, theirs))
        return paired_seeds(first, second), "seeds"
    if not mine or not theirs:
        return None, None
    ours, yours = _of(method, common or sorted(mine)), _of(reference, common or sorted(theirs))
    a, b = mine[ours.seed], theirs[yours.seed]
    if not _same_data(ours, yours) or a.correct is None or b.correct is None or a.correct.size != b.correct.size:
        return None, None
    entry = weights(ours)
    held_out = "test" if entry is not None and entry.test is not None else "validation"
    return paired_difference(a.correct, b.correct), f"{held_out} samples"


def _by_seed(method: Method, weights: Choice) -> dict[int, Split]:
    entries = {run.seed: weights(run) for run in method.evaluated}
    return {seed: entry.held_out for seed, entry in entries.items() if entry is not None and entry.held_out is not None}


def _of(method: Method, seeds: list[int]) -> RunRecord:
    return next(run for run in method.evaluated if run.seed == seeds[0])


def _same_data(a: RunRecord, b: RunRecord) -> bool:
    """Return whether both were tested on the same images; the seed cuts training and validation parts of its own."""
    return _tested_on(a) == _tested_on(b) and a.manifest["data"]["name"] == b.manifest["data"]["name"]


def _tested_on(run: RunRecord) -> Mapping[str, str] | str:
    if not run.manifest["data"]["test"]:
        return run.fingerprint
    return run.fingerprint.get("arrays/test", run.fingerprint)


def _notes(methods: list[Method]) -> list[str]:
    runs = [run for method in methods for run in method.runs]
    notes = [
        f"{run.name} is {run.manifest['status']} after {len(run.epochs)} epochs and not in the table's scores."
        for run in runs
        if run.chosen is None
    ]
    if not all(_same_data(runs[0], run) for run in runs):
        notes.append("The runs do not share their data, so their accuracies measure different tasks.")
    if len({str(run.manifest["hardware"]) for run in runs}) > 1:
        notes.append("The runs were made on different hardware, so time and throughput do not compare.")
    if len(methods) > 1 and all(len(method.evaluated) <= 1 for method in methods):
        notes.append("One seed a method: intervals cover the choice of test samples, not the luck of the seed.")
    return notes
