"""`torchsid train`: one recipe or several, with one seed or several, checked as a whole before the first step."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import CheckpointError, ConfigError, RunError

if TYPE_CHECKING:
    from torchsid.training import RunConfig

DEFAULT_OUT = Path("runs")


@dataclass(frozen=True)
class Training:
    """One training: what and where to."""

    config: "RunConfig"
    out: Path


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("train", help="train recipes and write a report", allow_abbrev=False)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a name from `torchsid list recipes`, or a TOML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's directory; that of all runs if there are several")
    parser.add_argument("--data", metavar="DIR", help="where the data files lie; short for --set data.path=DIR")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting, such as training.epochs=3"
    )
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="train each recipe with N seeds in a row")
    parser.add_argument("--resume", action="store_true", help="go on with what was interrupted, skip what is finished")
    parser.add_argument(
        "--help-settings", action="store_true", help="print the settings that the first RECIPE has, and train nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors and the final table only")
    parser.add_argument(
        "--on-bad-sample", choices=("error", "skip"), help="what a damaged image does; short for data.on_bad_sample"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train everything that was asked for, one after another, then write the reports and print the table."""
    if args.help_settings:
        return _print_settings(args)
    jobs = trainings(args.recipes, overrides(args), seeds=args.seeds, out=args.out)
    from torchsid.training.spread import started_as_worker, writes

    if started_as_worker():
        if len(jobs) > 1:
            raise ConfigError(["many workers train one recipe with one seed: give one RECIPE, without --seeds"], source="command")
    else:
        check_directories(jobs, resume=args.resume)
    with closing(console.choose(args.quiet or not writes(jobs[0].config))) as screen:
        for job in jobs:
            if len(jobs) > 1:
                screen.note(f"{job.config.label}, seed {job.config.training.seed}: {job.out}")
            if code := _train(job, screen, args):
                return code
        if not writes(jobs[0].config):
            return 0
        runs = [job.out for job in jobs]
        results.print_results(screen, results.compare_runs(runs, screen))
        _write_reports(runs, args.out or DEFAULT_OUT, screen)
    return 0


def _print_settings(args: argparse.Namespace) -> int:
    from torchsid.training import recipes

    config = recipes.resolve(args.recipes[0], overrides(args))
    rows = [[name, repr(value), f"{meaning}\n{allowed}"] for name, value, allowed, meaning in recipes.describe(config)]
    console.choose().table(["setting", "value", "meaning"], rows)
    return 0


def overrides(args: argparse.Namespace) -> list[str]:
    """Return the settings that the options stand for, those of `--set` last."""
    short = {"data.path": args.data, "data.on_bad_sample": args.on_bad_sample}
    # A JSON string is a TOML string: a directory called `1` or `a#b` stays what it is.
    return [*(f"{key}={json.dumps(value)}" for key, value in short.items() if value is not None), *args.set]


def trainings(recipes: Sequence[str], settings: Sequence[str], *, seeds: int, out: Path | None) -> list[Training]:
    """Return what is to be trained and where to; nothing is written.

    Raises:
        ConfigError: a recipe or a setting is wrong, or two trainings would share a directory; names all problems.
    """
    from torchsid.training import resolve

    problems: list[str] = []
    configs = []
    for recipe in recipes:
        try:
            configs.append(resolve(recipe, settings))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if len(configs) == 1 and seeds == 1:
        return [Training(configs[0], out or DEFAULT_OUT / configs[0].recipe)]
    jobs = [
        Training(_with_seed(config, extra), (out or DEFAULT_OUT) / (config.recipe + _seed_suffix(config, extra, seeds)))
        for config in configs
        for extra in range(seeds)
    ]
    directories = [job.out for job in jobs]
    if shared := sorted({str(path) for path in directories if directories.count(path) > 1}):
        raise ConfigError([f"two recipes would write to {path}; give their files different names" for path in shared])
    return jobs


def check_directories(jobs: Sequence[Training], *, resume: bool) -> None:
    """Refuse directories that cannot be written, hold something already, or hold a run that cannot be resumed.

    Raises:
        RunError: names all of them.
    """
    from torchsid.training.run import RunDirectory, check_directory

    problems = []
    for job in jobs:
        parent = next(path for path in (job.out, *job.out.absolute().parents) if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            problems.append(f"{job.out} cannot be made: {parent} is no directory that you may write to")
            continue
        try:
            check_directory(RunDirectory(job.out), job.config, resume=resume)
        except (RunError, CheckpointError, ConfigError) as error:
            problems.append(str(error))
    if problems:
        raise RunError("\n".join(problems))


def _with_seed(config: "RunConfig", extra: int) -> "RunConfig":
    return replace(config, training=replace(config.training, seed=config.training.seed + extra))


def _seed_suffix(config: "RunConfig", extra: int, seeds: int) -> str:
    return f"-seed{config.training.seed + extra}" if seeds > 1 else ""


def _train(job: Training, screen: console.Console, args: argparse.Namespace) -> int:
    """Train one of them and return 0, or the exit code of an interruption."""
    from torchsid import training

    command = ["torchsid", *args.command]
    screen.expect(job.config.training.epochs)
    try:
        training.train(job.config, job.out, resume=args.resume, reporter=screen, command=shlex.join(command))
    except training.Interrupted as stop:
        screen.close()
        again = shlex.join(command if args.resume else [*command, "--resume"])
        print(f"torchsid: interrupted; everything so far is saved. Go on with:\n  {again}", file=sys.stderr)
        return 128 + stop.signal
    return 0


def _write_reports(runs: Sequence[Path], out: Path, screen: console.Console) -> None:
    """Write the report of every run, and a joint one of several; the training stands without them."""
    from torchsid.study.report import render

    try:
        reports = [render([run], run / "report.html") for run in runs]
        if len(runs) > 1:
            reports.append(render(runs, out / "report.html"))
    except (RunError, ImportError) as error:
        screen.warning(f"no report: {error}")
    else:
        screen.file("report", reports[-1])
