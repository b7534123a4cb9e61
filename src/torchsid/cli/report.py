"""`torchsid report`: write the report of one run or several, as one self-contained page."""

import argparse
from pathlib import Path

from torchsid.cli.arguments import add_shared, find_runs
from torchsid.cli.console import Console
from torchsid.errors import RunError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default for a single RUN: its report.html)")


def run(args: argparse.Namespace) -> int:
    """Render the page and print where it lies."""
    from torchsid.study.report import render

    runs = find_runs(args.runs)
    if args.out is None and len(args.runs) > 1:
        raise RunError(f"{len(args.runs)} directories given: say where the report goes with --out FILE")
    Console().file("report", render(runs, args.out or args.runs[0] / "report.html"))
    return 0
