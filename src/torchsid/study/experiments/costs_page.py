"""The files of an experiment on costs: its rows, the plots and the page."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torchsid.bench.contenders import BACKPROP
from torchsid.show.page import Code, Figures, Page, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import Point, points
from torchsid.show.svg import Drawing, standalone
from torchsid.show.tables import NOTHING, Cell, Table, table
from torchsid.study.experiments.costs import COLUMNS, Found, Result
from torchsid.study.experiments.experiment import slug
from torchsid.study.experiments.parquet import write_parquet
from torchsid.study.files import write_file, write_json, write_page

Key = TypeVar("Key", bound=Hashable)

_UNITS = {"seconds": (1e3, " ms"), "share": (100, " %"), "serial share": (100, " %"), "kept bytes": (2**-20, " MiB")}
"""Of a quantity: the factor to the unit that it is shown in, and the unit; ratios have none."""
_TEXTS = {
    "timing": "Contenders take turns in one process. Extractor and phase 1 run one after another, the serial share s of a step, "
    "which bounds the gain of n workers on one batch by 1 / (s + (1 − s) / n).",
    "memory": "The most that autograd holds for backward at any moment of a step, each storage once; not weights, gradients, the "
    "optimiser's state, or what the batched schedule holds outside autograd.",
}


def headline(result: Result) -> str:
    """Return what was found, in one sentence."""
    if result.experiment.kind == "timing":
        gains = [row["median"] for row in result.rows if row["quantity"] == "bound" and row["of"] == f"{row['stages']} workers"]
        return f"As many workers as there are stages gain at most {min(gains):.2f} to {max(gains):.2f} times on one batch."
    kept = [row for row in result.rows if (row["quantity"], row["axis"], row["method"]) == ("kept bytes", "depth", "streaming")]
    flat = [len({row["median"] for row in own}) == 1 for own in _by(lambda row: row["network"], kept).values()]
    return f"With the streaming schedule what a step keeps is the same at every depth on {sum(flat)} of {len(flat)} networks."


def notes(result: Result) -> list[str]:
    """Return what the numbers are, and what the budget left out."""
    left = [f"The budget of time left out {', '.join(result.dropped)}."] if result.dropped else []
    return [*left, _TEXTS[result.experiment.kind]]


def write(result: Result, out: Path) -> dict[str, Path]:
    """Write `results.parquet`, `results.json`, one SVG a figure and `report.html` into `out`, and return them by kind.

    Raises:
        RunError: packages are missing, or the operating system refuses.
    """
    experiment = result.experiment
    by_axis = _by(lambda row: str(row["axis"]), result.rows)
    drawings = {axis: dict(_drawings(rows)) for axis, rows in by_axis.items()}
    origin = {"finished": result.finished, **result.provenance["versions"], **result.provenance["hardware"]}
    facts = table(["", ""], [(name, str(value)) for name, value in origin.items()])._replace(kind="facts")
    page = Page(
        title=experiment.question,
        subtitle=f"Experiment {experiment.name}, random data, no training, threads: {experiment.threads}",
        headline=headline(result),
        notes=[*([f"The claim: {experiment.claim}"] if experiment.claim else []), *notes(result)],
        sections=[
            *(
                Section(axis, axis.capitalize(), "", [Figures(list(drawings[axis].values())), _table(by_axis[axis])])
                for axis in by_axis
            ),
            Section("repeat", "To repeat it", "", [Code("Command", result.command), facts]),
        ],
    )
    summary = {
        "command": result.command,
        "experiment": {**asdict(experiment), "size": experiment.size},
        "ran": {"dropped": list(result.dropped)},
        "verdict": [headline(result)],
        "notes": notes(result),
        **{key: result.provenance[key] for key in ("versions", "hardware", "git")},
        "finished": result.finished,
        "rows": list(result.rows),
    }
    files = {"rows": out / "results.parquet", "summary": out / "results.json", "report": out / "report.html"}
    write_json(files["summary"], summary)
    write_parquet(result.rows, COLUMNS, files["rows"])
    for name, drawing in (each for found in drawings.values() for each in found.items()):
        write_file(out / f"{slug(name)}.svg", standalone(drawing))
    write_page(files["report"], page)
    return files


def _section(axis: str, rows: Sequence[Found], drawings: Mapping[str, Drawing]) -> Section:
    return Section(axis, axis.capitalize(), "", [Figures(list(drawings.values())), _table(rows)])


def _drawings(rows: Sequence[Found]) -> Iterator[tuple[str, Drawing]]:
    """Yield the plots of an axis: lines along it, and of times also points side by side, whole steps and their parts."""
    axis = rows[0]["axis"]
    over = [row for row in rows if row["of"] == BACKPROP and row["quantity"] == "over"]
    kept = [row for row in rows if row["quantity"] == "kept bytes"]
    what, unit = ("step time", "times backpropagation's") if over else ("kept for backward", "MiB")
    for network, own in _by(lambda row: row["network"], over or kept).items():
        values = sorted({row["value"] for row in own})
        by_method = _by(lambda row: str(row["method"]), own)
        lines = [Line(name, [row["value"] for row in line], [_point(row) for row in line]) for name, line in by_method.items()]
        if len(values) > 1:
            ticks = {value: str(value) for value in values}
            yield f"{axis} {network}", curves(f"{network}: {what}", lines, x=axis, y=unit, logarithmic="x", bottom=0, ticks=ticks)
    if over:
        steps = {place: {row["contender"]: _point(row) for row in lane} for place, lane in _by(_place, over).items()}
        yield f"{axis} steps", points("Step time, times backpropagation's", steps)
        shares = _by(lambda row: f"{row['stages']} stages, {row['network']}", [row for row in rows if row["quantity"] == "share"])
        parts = {place: {row["of"]: _point(row) for row in lane} for place, lane in shares.items()}
        yield f"{axis} parts", points("Parts of a SID step, %", parts, zero=True)


def _table(rows: Sequence[Found]) -> Table:
    """Return the rows as a table, quartiles beneath: a line a contender, a column a quantity."""
    lines = _by(lambda row: (row["contender"], _place(row)), rows)
    columns = list(dict.fromkeys(map(_column, rows)))
    found = [(Cell(*name), {_column(row): _cell(row) for row in line}) for name, line in lines.items()]
    return table(["", *columns], [[name, *(cells.get(column, NOTHING) for column in columns)] for name, cells in found])


def _column(row: Found) -> str:
    if row["quantity"] == "bound":
        return "gain of L workers" if row["of"] == f"{row['stages']} workers" else f"of {row['of']}"
    return f"/ {row['of']}" if "over" in row["quantity"] else row["of"] or row["quantity"]


def _cell(row: Found) -> Cell:
    factor, unit = _UNITS.get(row["quantity"], (1, ""))
    middle, low, high = (f"{factor * row[end]:.2f}" for end in ("median", "low", "high"))
    return Cell(middle + unit, "" if low == high else f"{low}–{high}")


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
