"""`torchsid experiment`: answer a question about the method by runs or measured steps, with intervals and a page."""

import argparse
import shlex
from functools import partial
from pathlib import Path

from torchsid.cli.arguments import positive
from torchsid.cli.console import Console
from torchsid.cli.streams import emit
from torchsid.errors import ConfigError

DEFAULT_OUT = Path("experiments")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from --list, or a TOML file")
    parser.add_argument("--list", action="store_true", help="list the experiments and their questions")
    parser.add_argument("--data", metavar="DIR", help="where the data files are; without them the digits of the package are used")
    minutes = partial(positive, kind=float)
    parser.add_argument("--budget", type=minutes, metavar="MINUTES", help="begin no further run after this time")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {DEFAULT_OUT}/NAME-SIZE; existing runs are kept")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="runs at a time, one thread each")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, write the files, print the tables."""
    from torchsid.study.experiments import costs, costs_page, experiment, page, runner

    screen = Console()
    if args.list:
        screen.table(["experiment", "question"], [list(row) for row in experiment.names().items()])
        return 0
    if args.name is None:
        raise ConfigError(["name an experiment, or see --list"], source="command")
    is_cost = costs.is_cost(args.name)
    if is_cost and (unused := [name for name, given in (("--data", args.data), ("--workers", args.workers != 1)) if given]):
        problems = [f"{args.name} measures batches of its own in one process: leave {name} out" for name in unused]
        raise ConfigError(problems, source="command")
    chosen = costs.load(args.name) if is_cost else experiment.choose(args.name, data=bool(args.data), minutes=args.budget)
    page.check_packages()  # now, and not after hours of training
    screen.note(f"{chosen.name}, {chosen.size}: {chosen.question}")
    out = args.out or DEFAULT_OUT / f"{chosen.name}-{chosen.size}"
    command = shlex.join(["torchsid", *("DIR" if args.data and word == args.data else word for word in args.command)])
    if isinstance(chosen, experiment.Experiment):
        found = runner.run(
            chosen, out, data=args.data or "", minutes=args.budget, workers=args.workers, command=command, say=screen.note
        )
        files, tables = page.write(found, out), page.tables(found)
    else:
        measured = costs.run(chosen, out, minutes=args.budget, command=command, say=screen.note)
        files, tables = costs_page.write(measured, out), costs_page.tables(measured)
        emit("\n".join(["", *costs_page.notes(measured)]))
    emit()
    screen.show(*tables)
    for kind, path in files.items():
        screen.file(kind, path)
    return 0
