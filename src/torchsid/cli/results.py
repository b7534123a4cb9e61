"""The results of runs, as a table to read, as a page and as JSON."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli.console import Console, abridged
from torchsid.errors import RunError

if TYPE_CHECKING:
    from torchsid.show.page import Page
    from torchsid.show.tables import Table
    from torchsid.study.report import Comparison


def compare_runs(runs: Sequence[Path], screen: Console) -> "Comparison":
    """Return the comparison of the runs; without SciPy, which intervals and differences need, it has means alone."""
    from torchsid.study.report import compare

    try:
        return compare(runs)
    except ImportError as error:
        screen.warning(f"no intervals and no differences: {error}")
        return compare(runs, intervals=False)


def print_results(screen: Console, result: "Comparison") -> None:
    """Print one row a method, runs that differ in their seed alone averaged; costs; accuracy by stage; what limits these."""
    from torchsid.study.report import cost_table, stage_table, summary_table

    for table in (summary_table(result), cost_table(result)):
        print_table(screen, table)
        print()
    columns, rows, *_ = stage_table(result)
    screen.table(abridged_by_stage(columns), [abridged_by_stage([cell.value for cell in row]) for row in rows])
    for note in result.notes:
        print(note)


def print_table(screen: Console, table: "Table", *, by_stage: bool = False) -> None:
    """Print a table with its caption; if its rows are stages, of many the ends alone."""
    lines = table.lines()
    if by_stage:
        kept = abridged([str(place) for place in range(len(lines))])
        lines = [lines[int(place)] if place.isdigit() else [place] * len(table.columns) for place in kept]
    if table.caption:
        print(table.caption)
    screen.table(table.columns, lines)


def abridged_by_stage(cells: Sequence[str]) -> list[str]:
    """Return a row whose first cell names it, of a deep cascade the ends alone."""
    return [cells[0], *abridged(cells[1:])]


def write_json(path: Path, result: object) -> None:
    """Write a result for other programs; NaN and infinity, which JSON lacks, become null.

    Raises:
        RunError: the file cannot be written.
    """
    write_file(path, json.dumps(finite(result), indent=2, allow_nan=False) + "\n")


def write_page(path: Path, page: "Page") -> None:
    """Write a page, whole or not at all.

    Raises:
        RunError: it is a directory, cannot be written, or a package of the extra `torchsid[report]` is missing.
    """
    if path.is_dir():
        raise RunError(f"{path} is a directory; name the file to write, for example {path / 'page.html'}")
    write_file(path, page.html())


def write_file(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; its directory is made.

    Raises:
        RunError: the operating system refuses.
    """
    from torchsid.training.durable import os_errors, write_text

    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def finite(value: object) -> object:
    """Return a value with null for NaN and infinity, which JSON lacks."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
