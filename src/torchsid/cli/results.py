"""The results of runs, as tables to read."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.console import Console, abridged
from torchsid.study.files import write_file as write_file
from torchsid.study.files import write_json as write_json

if TYPE_CHECKING:
    from torchsid.show.svg import Drawing
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


def write_measured(screen: Console, args: argparse.Namespace, what: str, result: Mapping[str, Any], device: str = "cpu") -> None:
    """Write what was measured to the file of `--json`, if one is asked for, with the command and where the numbers come from."""
    if args.json:
        import torch

        from torchsid.training.provenance import provenance

        origin = {"command": shlex.join(["torchsid", *args.command]), "provenance": provenance(torch.device(device))}
        write_json(args.json, {**origin, **result})
        screen.file(what, args.json)


def draw(screen: Console, path: Path, *drawings: "Drawing") -> None:
    """Write figures into one SVG file."""
    from torchsid.show.svg import standalone

    write_file(path, standalone(*drawings))
    screen.file("figure", path)
