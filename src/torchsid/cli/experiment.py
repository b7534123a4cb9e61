"""`torchsid experiment`: a question about the method, answered by runs or by measured steps, with intervals and one page."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import ConfigError

if TYPE_CHECKING:
    from torchsid.study.experiments import Experiment
    from torchsid.study.experiments.costs import Costs

DEFAULT_OUT = Path("experiments")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("experiment", help="answer a question by a grid of runs, with intervals", allow_abbrev=False)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from --list, or a TOML file")
    parser.add_argument("--list", action="store_true", help="list the experiments and their questions")
    parser.add_argument("--data", metavar="DIR", help="where the data files lie; without them the package's own digits are used")
    parser.add_argument("--budget", type=_minutes, metavar="MINUTES", help="leave out seeds, values or rounds until it fits")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: {DEFAULT_OUT}/NAME-SIZE; what is there already is kept")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="runs at a time, one thread each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what is missing, write the files, print the findings.

    Raises:
        ConfigError: no such experiment, or its settings do not fit; names all problems.
    """
    from torchsid.study import experiments
    from torchsid.study.experiments import costs

    if args.list:
        console.choose().table(["experiment", "question"], [list(row) for row in experiments.names().items()])
        return 0
    if args.name is None:
        raise ConfigError(["name an experiment, or see --list"], source="command")
    if costs.is_cost(args.name):
        return _measure(args, costs.load(args.name))
    return _run(args, experiments.choose(args.name, data=bool(args.data), minutes=args.budget))


def _run(args: argparse.Namespace, chosen: "Experiment") -> int:
    from torchsid.study.experiments import record
    from torchsid.study.experiments import run as run_experiment
    from torchsid.study.experiments.findings import notes, verdict

    screen, out = _begin(args, chosen)
    command = shlex.join(["torchsid", *("DIR" if args.data and word == args.data else word for word in args.command)])
    result = run_experiment(
        chosen, out, data=args.data or "", minutes=args.budget, workers=args.workers, command=command, say=screen.note
    )
    return _end(screen, [*verdict(result), *notes(result)], record.write(result, out))


def _measure(args: argparse.Namespace, chosen: "Costs") -> int:
    from torchsid.study.experiments import costs, costs_page

    problems = [f"{chosen.name} makes its own batches: leave --data out"] if args.data else []
    if args.workers != 1:
        problems.append(f"{chosen.name} measures in one process, where nothing disturbs it: leave --workers out")
    if problems:
        raise ConfigError(problems, source="command")
    screen, out = _begin(args, chosen)
    command = shlex.join(["torchsid", *args.command])
    result = costs.run(chosen, out, minutes=args.budget, command=command, say=screen.note)
    return _end(screen, [costs_page.headline(result), *costs_page.notes(result)], costs_page.write(result, out))


def _begin(args: argparse.Namespace, chosen: "Experiment | Costs") -> tuple[console.Console, Path]:
    """Check what would stop the result from being written, say what is asked, and return where the answer goes."""
    from torchsid.study.experiments import record

    record.check_packages()
    screen = console.choose()
    screen.note(f"{chosen.name}, {chosen.size}: {chosen.question}")
    return screen, args.out or DEFAULT_OUT / f"{chosen.name}-{chosen.size}"


def _end(screen: console.Console, sentences: list[str], files: dict[str, Path]) -> int:
    print()
    for sentence in sentences:
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
