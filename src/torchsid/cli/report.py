"""`torchsid report`: runs as one self-contained page."""

import argparse
from pathlib import Path

from torchsid.cli import console
from torchsid.cli.arguments import Subparsers
from torchsid.cli.runs import find_runs
from torchsid.errors import RunError


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("report", help="write the report of one run or several", allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run, or a directory of runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in RUN, if it is only one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render the page and print where it lies."""
    from torchsid.study.report import render

    runs = find_runs(args.runs)
    if args.out is None and len(args.runs) > 1:
        raise RunError(f"{len(args.runs)} directories given: say where the report goes with --out FILE")
    console.choose().file("report", render(runs, args.out or args.runs[0] / "report.html"))
    return 0
