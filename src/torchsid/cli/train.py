"""`torchsid train`: train recipes, with one seed or several, and write a report; everything is checked before the first step."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import tomli_w

from torchsid import training
from torchsid.cli.arguments import positive
from torchsid.cli.compare import print_comparison
from torchsid.cli.console import Console, command_of
from torchsid.cli.streams import emit
from torchsid.errors import CheckpointError, ConfigError, MissingPackageError, RunError

DEFAULT_OUT = Path("runs")
MOST_SEEDS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a name from `torchsid list recipes`, or a TOML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's directory; with several runs the directory of all")
    parser.add_argument("--data", metavar="DIR", help="where the data files are; short for --set data.path=DIR")
    one = "change one setting, such as training.epochs=3"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=one)
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="train each recipe with N seeds in a row")
    parser.add_argument("--resume", action="store_true", help="continue interrupted runs, skip finished ones")
    settings = "print the settings of the first RECIPE, and train nothing"
    parser.add_argument("--help-settings", action="store_true", help=settings)
    parser.add_argument("--quiet", action="store_true", help="print only errors and the final table")
    bad = "what to do with a damaged sample; short for data.on_bad_sample"
    parser.add_argument("--on-bad-sample", choices=("error", "skip"), help=bad)


def run(args: argparse.Namespace) -> int:
    """Train everything that was asked for, one after another, then write the reports and print the table."""
    if args.help_settings:
        from torchsid.training.recipes import describe

        described = describe(training.resolve(args.recipes[0], overrides(args)))
        rows = [[name, repr(value), f"{meaning}\n{allowed}"] for name, value, allowed, meaning in described]
        Console().table(["setting", "value", "meaning"], rows)
        return 0
    jobs = trainings(args.recipes, overrides(args), seeds=args.seeds, out=args.out)
    from torchsid.distributed.launcher import launched
    from torchsid.training.spread import writes

    if launched() is None:
        check_directories(jobs, resume=args.resume)
    elif len(jobs) > 1:
        raise ConfigError(["many workers train one recipe with one seed: give one RECIPE, without --seeds"], source="command")
    lead, command = all(map(writes, jobs.values())), command_of(args)
    screen = Console(quiet=args.quiet or not lead)
    for out, config in jobs.items():
        if len(jobs) > 1:
            screen.note(f"{config.label}, seed {config.training.seed}: {out}")
        screen.expect(config.training.epochs)
        try:
            with closing(screen):
                training.train(config, out, resume=args.resume, reporter=screen, command=command)
        except training.Interrupted as stop:
            again = command if args.resume else f"{command} --resume"
            emit(f"torchsid: interrupted; everything so far is saved. Go on with:\n  {again}", error=True)
            return 128 + stop.signal
    if lead:
        print_comparison(screen, [*jobs])
        _write_reports([*jobs], args.out or DEFAULT_OUT, screen)
    return 0


def overrides(args: argparse.Namespace) -> list[str]:
    """Return the settings that the options stand for, those of `--set` last."""
    short = {"data.path": args.data, "data.on_bad_sample": args.on_bad_sample}
    # As TOML, so that a directory called `1` or `a#b` stays what it is.
    given = (tomli_w.dumps({"": value}).replace('""', key, 1).strip() for key, value in short.items() if value is not None)
    return [*given, *args.set]


def trainings(recipes: Sequence[str], settings: Sequence[str], *, seeds: int, out: Path | None) -> "dict[Path, training.RunConfig]":
    """Return what is to be trained, by the directory that it goes to, and write nothing; a ConfigError names all that is wrong."""
    problems: list[str] = []
    jobs: dict[Path, training.RunConfig] = {}
    for recipe in recipes:
        try:
            config = training.resolve(recipe, settings)
        except ConfigError as error:
            problems += error.problems
            continue
        if seeds > MOST_SEEDS or config.training.seed + seeds > 2**53:
            problems.append(f"--seeds {seeds}: at most {MOST_SEEDS:,} are trained in a row, and none above 2^53")
            continue
        for seed in range(config.training.seed, config.training.seed + seeds):
            directory = (out or DEFAULT_OUT) / (f"{config.recipe}-seed{seed}" if seeds > 1 else config.recipe)
            if directory in jobs:
                problems.append(f"two recipes would write to {directory}; give their files different names")
            jobs[directory] = replace(config, training=replace(config.training, seed=seed))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return {out: next(iter(jobs.values()))} if out and len(jobs) == 1 else jobs


def check_directories(jobs: "Mapping[Path, training.RunConfig]", *, resume: bool) -> None:
    """Refuse, by a RunError, directories that cannot be written, hold something already, or hold a run that cannot be resumed."""
    from torchsid.training.lock import refuse_if_in_use
    from torchsid.training.run import RunDirectory, check_directory

    problems = []
    for out, config in jobs.items():
        parent = next(path for path in (out, *out.absolute().parents) if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            problems.append(f"{out} cannot be made: {parent} is no directory that you may write to")
            continue
        try:
            refuse_if_in_use(out)
            check_directory(RunDirectory(out), config, resume=resume)
        except (RunError, CheckpointError, ConfigError) as error:
            problems.append(str(error))
    if problems:
        raise RunError("\n".join(problems))


def _write_reports(runs: Sequence[Path], out: Path, screen: Console) -> None:
    """Write the report of every run, and a joint one of several; the training stands without them."""
    from torchsid.study.report import render

    try:
        reports = [render([run], run / "report.html") for run in runs]
        if len(runs) > 1:
            reports.append(render(runs, out / "report.html"))
    except (RunError, MissingPackageError) as error:
        screen.warning(f"no report: {error}")
    else:
        screen.file("report", reports[-1])
