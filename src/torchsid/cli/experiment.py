"""`torchsid experiment`: a question about the method, answered by a grid of runs, with intervals and one page."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import ConfigError

if TYPE_CHECKING:
    from torchsid.experiments import Experiment

DEFAULT_OUT = Path("experiments")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("experiment", help="answer a question by a grid of runs, with intervals", allow_abbrev=False)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from --list, or a TOML file")
    parser.add_argument("--list", action="store_true", help="list the experiments and their questions")
    parser.add_argument("--data", metavar="DIR", help="where the data files lie; without them the package's own digits are used")
    parser.add_argument("--budget", type=_minutes, metavar="MINUTES", help="leave out seeds and values until it fits")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {DEFAULT_OUT}/NAME-SIZE; what is there already is kept")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="runs at a time, one thread each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what is missing, write the files, print the findings.

    Raises:
        ConfigError: no such experiment, or its settings do not fit; names all problems.
    """
    from torchsid import experiments

    if args.list:
        console.choose().table(["experiment", "question"], [list(row) for row in experiments.names().items()])
        return 0
    if args.name is None:
        raise ConfigError(["name an experiment, or see --list"], source="command")
    chosen = experiments.choose(args.name, data=bool(args.data), minutes=args.budget)
    return _run(args, chosen)


def _run(args: argparse.Namespace, chosen: "Experiment") -> int:
    from torchsid.experiments import record
    from torchsid.experiments import run as run_experiment
    from torchsid.experiments.findings import notes, verdict

    screen = console.choose()
    record.check_packages()
    out = args.out or DEFAULT_OUT / f"{chosen.name}-{chosen.size}"
    screen.note(f"{chosen.name}, {chosen.size}: {chosen.question}")
    command = shlex.join(["torchsid", *("DIR" if args.data and word == args.data else word for word in args.command)])
    result = run_experiment(
        chosen, out, data=args.data or "", minutes=args.budget, workers=args.workers, command=command, say=screen.note
    )
    files = record.write(result, out)
    print()
    for sentence in (*verdict(result), *notes(result)):
        print(sentence)
    for kind, path in files.items():
        screen.file(kind, path)
    return 0


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} given; allowed is a number of minutes above 0")
    return minutes
