"""`torchsid compare`: print runs side by side in one table."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchsid.cli.arguments import add_shared, find_runs
from torchsid.cli.console import Console, abridged, write_json
from torchsid.cli.streams import emit
from torchsid.errors import MissingPackageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "runs", "--json")


def run(args: argparse.Namespace) -> int:
    """Compare the runs; the first one is the reference of the differences."""
    screen = Console()
    write_json(screen, args, "comparison", print_comparison(screen, find_runs(args.runs)))
    return 0


def print_comparison(screen: Console, runs: Sequence[Path]) -> dict[str, Any]:
    """Print one row a method, runs that differ in their seed alone averaged; costs; accuracy by stage; what limits these.

    Without SciPy, which intervals and differences need, there are means alone. Returns all of it, as JSON can hold it.
    """
    from torchsid.study.report import compare, cost_table, stage_table, summary_table
    from torchsid.study.report.compare import as_json

    try:
        result = compare(runs)
    except MissingPackageError as error:
        screen.warning(f"no intervals and no differences: {error}")
        result = compare(runs, intervals=False)
    screen.show(summary_table(result), cost_table(result))
    columns, rows, *_ = stage_table(result)
    cells = [columns, *([cell.value for cell in row] for row in rows)]
    head, *lines = [[name, *abridged(by_stage, "…")] for name, *by_stage in cells]
    screen.table(head, lines)
    for note in result.notes:
        emit(note)
    return as_json(result)
