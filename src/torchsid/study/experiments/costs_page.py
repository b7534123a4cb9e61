"""The files of an experiment on costs: its rows, the plots and the page."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from torchsid.bench.workload import BACKPROP
from torchsid.show.page import Code, Figures, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import Point, points
from torchsid.show.svg import Drawing
from torchsid.show.tables import NOTHING, Cell, Table, facts, table
from torchsid.study.experiments.costs import COLUMNS, Found
from torchsid.study.experiments.experiment import slug
from torchsid.study.files import write_results
from torchsid.training.config import dotted

Key = TypeVar("Key", bound=Hashable)

_UNITS = {"seconds": (1e3, " ms"), "share": (100, " %"), "serial share": (100, " %"), "kept bytes": (2**-20, " MiB")}
"""Of a quantity: the factor to the unit that it is shown in, and the unit; ratios have none."""
_TEXTS = {
    "timing": "Contenders take turns in one process. Extractor and phase 1 run one after another, the serial share s of a step, "
    "which bounds the gain of n workers on one batch by 1 / (s + (1 − s) / n).",
    "memory": "The most that autograd holds for backward at any moment of a step, each storage once; not weights, gradients, the "
    "optimiser's state, or what the batched schedule holds outside autograd.",
}


def write(result: Found, out: Path) -> dict[str, Path]:
    """Write the files of what `torchsid.study.experiments.costs.run` has found into `out`, and return them; see `write_results`."""
    experiment, sections, drawings = result["experiment"], [], dict[str, Drawing]()
    for axis, rows in _by(lambda row: str(row["axis"]), result["rows"]).items():
        own = {slug(f"{axis} {name}"): drawing for name, drawing in _drawings(rows)}
        sections.append(Section(axis, axis.capitalize(), "", [Figures(list(own.values())), _table(rows)]))
        drawings |= own
    about = dotted({name: result[name] for name in ("finished", "versions", "hardware")})
    repeat: list[Part] = [Code("Command", result["command"]), facts(["", ""], [(name, str(value)) for name, value in about])]
    page = Page(
        title=experiment["question"],
        subtitle=f"Experiment {experiment['name']}, random data, no training, threads: {experiment['threads']}",
        notes=[*([f"The claim: {experiment['claim']}"] if experiment["claim"] else []), *notes(result)],
        sections=[*sections, Section("repeat", "To repeat it", "", repeat)],
    )
    return write_results(out, result["rows"], COLUMNS, {**result, "notes": notes(result)}, drawings, page)


def notes(result: Found) -> list[str]:
    """Return what the numbers are, and what the budget left out."""
    dropped = result["ran"]["dropped"]
    left = [f"The budget of time left out {', '.join(dropped)}."] if dropped else []
    return [*left, _TEXTS[result["experiment"]["kind"]]]


def tables(result: Found) -> list[Table]:
    """Return one table an axis: what the terminal shows."""
    return [_table(rows)._replace(caption=axis) for axis, rows in _by(lambda row: str(row["axis"]), result["rows"]).items()]


def _drawings(rows: Sequence[Found]) -> Iterator[tuple[str, Drawing]]:
    """Yield the plots of an axis: lines along it, and of times also points side by side, whole steps and their parts."""
    over = [row for row in rows if row["of"] == BACKPROP and row["quantity"] == "over"]
    kept = [row for row in rows if row["quantity"] == "kept bytes"]
    what, unit = ("step time", "times backpropagation's") if over else ("kept for backward", "MiB")
    for network, own in _by(lambda row: row["network"], over or kept).items():
        by_method = _by(lambda row: str(row["method"]), own)
        lines = [Line(name, [row["value"] for row in line], [_point(row) for row in line]) for name, line in by_method.items()]
        ticks = {value: str(value) for value in sorted({row["value"] for row in own})}
        if len(ticks) > 1:
            axis = rows[0]["axis"]
            yield network, curves(f"{network}: {what}", lines, x=axis, y=unit, logarithmic="x", bottom=0, ticks=ticks)
    if over:
        steps = {place: {row["contender"]: _point(row) for row in lane} for place, lane in _by(_place, over).items()}
        yield "steps", points("Step time, times backpropagation's", steps)
        shares = _by(lambda row: f"{row['stages']} stages, {row['network']}", [row for row in rows if row["quantity"] == "share"])
        parts = {place: {row["of"]: _point(row) for row in lane} for place, lane in shares.items()}
        yield "parts", points("Parts of a SID step, %", parts, zero=True)


def _table(rows: Sequence[Found]) -> Table:
    """Return the rows as a table, quartiles beneath: a line a contender, a column a quantity."""
    columns = list(_by(_column, rows))
    lines = []
    for name, line in _by(lambda row: (row["contender"], _place(row)), rows).items():
        cells = {_column(row): _cell(row) for row in line}
        lines.append([Cell(*name), *(cells.get(column, NOTHING) for column in columns)])
    return table(["", *columns], lines)


def _column(row: Found) -> str:
    if row["quantity"] == "bound":
        return "gain of L workers" if row["of"] == f"{row['stages']} workers" else f"of {row['of']}"
    return f"/ {row['of']}" if "over" in row["quantity"] else row["of"] or row["quantity"]


def _cell(row: Found) -> Cell:
    middle, low, high = (f"{end:.2f}" for end in _point(row))
    return Cell(middle + _UNITS.get(row["quantity"], (1, ""))[1], "" if low == high else f"{low}–{high}")


def _point(row: Found) -> Point:
    factor, _ = _UNITS.get(row["quantity"], (1, ""))
    return Point(*(factor * row[end] for end in ("median", "low", "high")))


def _place(row: Found) -> str:
    return f"{row['axis']} {row['value']}, {row['network']}"


def _by(key: Callable[[Found], Key], rows: Iterable[Found]) -> dict[Key, list[Found]]:
    """Return the rows by what they have in common, in order of appearance."""
    groups: dict[Key, list[Found]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
