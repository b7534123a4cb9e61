"""Numbers and findings in words: one place, so that the page and the command line say the same."""

from collections.abc import Sequence
from math import isfinite, isnan
from typing import NamedTuple

from torchsid.show.compare import Comparison, Row, Score
from torchsid.study.statistics import Interval, PairedDifference


class Cell(NamedTuple):
    """One cell of a table: the number, and its interval or remark beneath."""

    value: str
    detail: str = ""


class Table(NamedTuple):
    """A table of text; every row has one cell a column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


NOTHING = Cell("–")


def percent(share: float, digits: int = 2) -> str:
    """Return `97.22 %` for 0.9722, with a space that does not break."""
    return "unknown" if isnan(share) else f"{100 * share:.{digits}f}\u00a0%"


def points(difference: float) -> str:
    """Return `+1.39` for a difference of accuracies of 0.0139, in percentage points."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def number(value: float) -> str:
    """Return `value` with three significant digits, thousands separated."""
    if not isfinite(value):
        return "unknown" if isnan(value) else "infinite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `8.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def mebibytes(count: float) -> str:
    """Return `24.0 MiB` for a number of bytes."""
    return f"{number(count / 2**20)} MiB"


def listing(items: Sequence[object]) -> str:
    """Return `1, 4 and 7`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, noun: str) -> str:
    """Return `1 stage` or `5 stages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def accuracy_range(interval: Interval) -> str:
    """Return the interval of an accuracy, `95.10–98.43`, or an empty string when there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{100 * interval.low:.2f}–{100 * interval.high:.2f}"


def kl_by_stage(kl: Sequence[float]) -> str:
    """Say whether KL(target || p_i) falls with depth; `kl` is `[L+1]`, index 0 the prior."""
    if not all(map(isfinite, kl)):
        return "KL is not finite at every stage"
    depth = len(kl) - 1
    fall = f"from {number(kl[0])} nats at the prior to {number(kl[-1])}"
    if depth == 1:
        return f"KL goes {fall} in one step, there being no stages in between"
    rises = [stage for stage in range(1, depth + 1) if kl[stage] > kl[stage - 1]]
    if not rises:
        return f"KL falls at every one of the {depth} stages, {fall}"
    stages = "stage" if len(rises) == 1 else "stages"
    return f"KL rises at {stages} {listing(rises)} of {depth}, and goes {fall}"


def headline(result: Comparison) -> str:
    """Return the result in one or two sentences."""
    scored = [row for row in result.rows if row.chosen is not None]
    if not scored:
        return "No run has been evaluated yet."
    if len(result.rows) == 1:
        return f"{_reaches(scored[0])}."
    if result.rows[0].chosen is None:
        return " ".join(f"{_reaches(row)}." for row in scored)
    others = [f"{row.method.name} reaches {_accuracy(row)}, {_against(row, row.difference, result.rows[0])}" for row in scored[1:]]
    return ". ".join([_reaches(scored[0]), *others]) + "."


def _reaches(row: Row) -> str:
    assert row.chosen is not None
    interval = accuracy_range(row.chosen.accuracy)
    span = f"95\u00a0% interval {interval}" if interval else "no interval"
    return f"{row.method.name} reaches {_accuracy(row)} {row.chosen.split} accuracy ({span}, {basis(row)})"


def _accuracy(row: Row) -> str:
    assert row.chosen is not None
    return percent(row.chosen.accuracy.mean)


def basis(row: Row) -> str:
    """Say what the interval of a row's accuracy is over."""
    assert row.chosen is not None
    seeds, n = len(row.chosen.epochs), row.chosen.accuracy.n
    return f"{seeds} seeds" if seeds > 1 else f"{n:,} images, one seed"


def _against(row: Row, difference: PairedDifference | None, reference: Row) -> str:
    other = reference.method.name
    if difference is None:
        return f"which cannot be paired with {other}"
    if difference.difference == 0 and not difference.resolved:
        return f"the same as {other}"
    direction = "above" if difference.difference > 0 else "below"
    text = f"{100 * abs(difference.difference):.2f} points {direction} {other}"
    if difference.low is None or difference.high is None:
        return f"{text}, from one seed without an interval"
    span = f"paired over {difference.n:,} {row.paired_over}: {points(difference.low)} to {points(difference.high)}"
    return f"{text} ({span}{'' if difference.resolved else ', which includes zero'})"


def thrift(result: Comparison) -> str:
    """Say which method keeps the least for backward, and what that does to its accuracy; empty where it was not recorded."""
    reference, *others = result.rows
    measured = [(row.kept_bytes.mean, place) for place, row in enumerate(others) if row.kept_bytes and row.last]
    if not measured or not reference.kept_bytes:
        return ""
    least, place = min(measured)
    row, whole = others[place], reference.kept_bytes.mean
    assert row.last is not None
    name, other, found = row.method.name, reference.method.name, row.difference_last
    if least < whole:
        text = f"{name} keeps the least for backward, {mebibytes(least)} a step or {least / whole:.2f} of the "
        text += f"{mebibytes(whole)} of {other},"
    else:
        text = f"No other method keeps less for backward than {other}, {mebibytes(whole)} a step; {name} keeps {mebibytes(least)}"
    doubt = "no difference found: " if found is not None and found.difference and not found.resolved else ""
    reached = f"{percent(row.last.accuracy.mean)} {row.last.split} accuracy after the last epoch"
    return f"{text} and reaches {reached}, {doubt}{_against(row, found, reference)}."


def summary_table(result: Comparison) -> Table:
    """Return the table of methods as text, for the page and for the terminal."""
    rows = tuple(_summary_row(row) for row in result.rows)
    columns = (
        "Method",
        "Accuracy, best",
        "Accuracy, last",
        "Difference",
        "KL",
        "ECE",
        "Training",
        "Images/s",
        "Memory",
    )
    shown = [
        index
        for index, name in enumerate((*columns, "Locality"))
        if name != "Difference" or any(row[index] != NOTHING for row in rows)
    ]
    names = (*columns, "Locality")
    return Table(tuple(names[index] for index in shown), tuple(tuple(row[index] for index in shown) for row in rows))


def _summary_row(row: Row) -> tuple[Cell, ...]:
    seeds = sorted({run.seed for run in row.method.runs})
    name = Cell(row.method.name, f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {listing(seeds)}")
    chosen = row.chosen
    return (
        name,
        _accuracy_cell(row.best),
        _accuracy_cell(row.last),
        _difference_cell(row),
        _interval_cell(chosen.kl) if chosen else NOTHING,
        Cell(percent(chosen.ece.mean)) if chosen else NOTHING,
        Cell(duration(row.train_seconds.mean)) if row.train_seconds else NOTHING,
        Cell(number(row.samples_per_second.mean)) if row.samples_per_second else NOTHING,
        Cell(f"{number(row.peak_memory_mib.mean)} MiB") if row.peak_memory_mib else NOTHING,
        Cell(listing(list(dict.fromkeys(verdict(run.manifest.get("locality")) for run in row.method.runs)))),
    )


def verdict(locality: object) -> str:
    """Return the verdict of a manifest's locality entry, or `not checked` where there is none."""
    return str(locality.get("verdict", "not checked")) if isinstance(locality, dict) else "not checked"


def _accuracy_cell(score: Score | None) -> Cell:
    if score is None:
        return NOTHING
    epoch = f"epoch {score.epochs[0]}" if len(score.epochs) == 1 else ""
    return Cell(percent(score.accuracy.mean), " · ".join(filter(None, (accuracy_range(score.accuracy), epoch))))


def _difference_cell(row: Row) -> Cell:
    found = row.difference
    if found is None:
        return NOTHING
    if found.low is None or found.high is None:
        return Cell(points(found.difference), "no interval")
    return Cell(points(found.difference), f"{points(found.low)} to {points(found.high)}")


def _interval_cell(interval: Interval) -> Cell:
    if interval.low is None or interval.high is None:
        return Cell(number(interval.mean))
    return Cell(number(interval.mean), f"{number(interval.low)}–{number(interval.high)}")
