"""`torchsid compare`: runs side by side in one table."""

import argparse
from pathlib import Path

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers
from torchsid.cli.runs import find_runs


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("compare", help="print runs side by side", allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run, or a directory of runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison with all its digits")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare the runs; the first one is the reference of the differences."""
    from torchsid.study.report.compare import as_json

    screen = console.choose()
    result = results.compare_runs(find_runs(args.runs), screen)
    results.print_results(screen, result)
    if args.json:
        results.write_json(args.json, as_json(result))
        screen.file("comparison", args.json)
    return 0
