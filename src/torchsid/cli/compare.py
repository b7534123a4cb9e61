"""`torchsid compare`: print runs side by side in one table."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli.arguments import add_shared, find_runs
from torchsid.cli.console import Console, abridged, write_json

if TYPE_CHECKING:
    from torchsid.study.report import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "runs", "--json")


def run(args: argparse.Namespace) -> int:
    """Compare the runs; the first one is the reference of the differences."""
    from torchsid.study.report.compare import as_json

    screen = Console()
    result = print_comparison(screen, find_runs(args.runs))
    write_json(screen, args, "comparison", as_json(result))
    return 0


def print_comparison(screen: Console, runs: Sequence[Path]) -> "Comparison":
    """Print one row a method, runs that differ in their seed alone averaged; costs; accuracy by stage; what limits these.

    Without SciPy, which intervals and differences need, there are means alone.
    """
    from torchsid.study.report import compare, cost_table, stage_table, summary_table

    try:
        result = compare(runs)
    except ImportError as error:
        screen.warning(f"no intervals and no differences: {error}")
        result = compare(runs, intervals=False)
    screen.show(summary_table(result), cost_table(result))
    columns, rows, *_ = stage_table(result)
    cells = [columns, *([cell.value for cell in row] for row in rows)]
    head, *lines = [[name, *abridged(by_stage, "…")] for name, *by_stage in cells]
    screen.table(head, lines)
    for note in result.notes:
        print(note)
    return result
