"""Arguments that several verbs share, and what they stand for: runs, the network of one, the data it was trained on."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

import torchsid
from torchsid import tasks, training
from torchsid.cli.console import Console
from torchsid.errors import ConfigError, DataError, RunError
from torchsid.packages import missing
from torchsid.settings import path_setting

SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"  # every run directory has one


def positive(text: str, kind: Callable[[str], float] = int) -> float:
    """Read a number above 0, of this kind; an ArgumentTypeError where it is none."""
    with suppress(ValueError):
        if 0 < (value := kind(text)) < inf:
            return value
    raise argparse.ArgumentTypeError(f"{text[:40]!r} given; allowed is a{' whole' if kind is int else ''} number above 0")


def from_zero(text: str, kind: Callable[[str], float] = float) -> float:
    """Read a number of 0 or more, of this kind; an ArgumentTypeError where it is none."""
    with suppress(ValueError):
        if 0 <= (value := kind(text)) < inf:
            return value
    raise argparse.ArgumentTypeError(f"{text[:40]!r} given; allowed is a{' whole' if kind is int else ''} number of 0 or more")


def table_file(text: str) -> Path:
    """Read the name of a table to write; an ArgumentTypeError where it can be none."""
    from torchsid.study.files import TABLES

    path = Path(text)
    if path.suffix not in TABLES:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} given; allowed are files that end in {', '.join(TABLES)}")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise argparse.ArgumentTypeError(str(missing("pyarrow", extra="files", purpose="a .parquet file")))
    return path


SHARED: Mapping[str, Mapping[str, Any]] = {
    "directory": {"type": Path, "metavar": "RUN", "help": "the run's directory"},
    "runs": {"nargs": "+", "type": Path, "metavar": "RUN", "help": "a run, or a directory of runs"},
    "--weights": {"choices": ("best", "last"), "default": "best", "help": "best by validation, or last (default: %(default)s)"},
    "--data": {"metavar": "DIR", "help": "where the data files are (default: where they were in training)"},
    "--set": {"action": "append", "metavar": "KEY=VALUE", "help": "change a setting of the data, such as data.missing=text"},
    "--exit-when": {"metavar": "RULE", "help": "stop at the first sure stage: 'confidence>0.95' or 'entropy<0.1' (quoted)"},
    "--table": {"type": table_file, "metavar": "FILE", "help": "write a row per sample: FILE ends in .csv, .jsonl or .parquet"},
    "--json": {"type": Path, "metavar": "FILE", "help": "write all results, with all digits"},
}
"""Arguments that several verbs take."""


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add some of the arguments that verbs share."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the runs that the paths name: a run itself, or all runs below a directory, each once; a RunError if there is none."""
    runs: dict[Path, None] = {}
    for path in paths:
        below = [path] if (path / MANIFEST).is_file() else sorted(mark.parent for mark in path.rglob(MANIFEST))
        if not below:
            reason = "holds no run" if path.is_dir() else "is no directory"
            raise RunError(f"{path} {reason}; `torchsid train RECIPE --out {path}` would make one")
        within = (run for run in below if any((path / above / MANIFEST).is_file() for above in run.relative_to(path).parents))
        folds = set(within)  # what `torchsid audit` trains in a run belongs to it
        runs |= dict.fromkeys(run for run in below if run not in folds)
    return list(runs)


def about_run(args: argparse.Namespace) -> dict[str, Any]:
    """Return what every JSON file about RUN begins with."""
    return {"run": args.directory, "weights": args.weights}


def with_data(config: "training.RunConfig", args: argparse.Namespace) -> "training.RunConfig":
    """Return the configuration of a run with its data where `--data` says that they lie now, and as `--set` says.

    Raises:
        ConfigError: `--set` names what is no setting of the data, or does not fit.
    """
    if changed := getattr(args, "set", None):
        if others := [each for each in changed if not each.startswith("data.")]:
            raise ConfigError([f"--set {each}: only settings of data can be changed here" for each in others], source="command")
        config = training.resolve(training.open_run(args.directory).config_file, changed)
    return config if args.data is None else replace(config, data=replace(config.data, path=path_setting(args.data)))


def load_splits(network: "training.LoadedNetwork", args: argparse.Namespace) -> "tasks.Splits":
    """Return the data that the network of RUN was trained with, from where they lie now.

    Of samples that networks bring about it gets the held-out ones that it does; those that it was trained on have gone.
    """
    from torchsid.training.evaluation import tried_out
    from torchsid.training.setup import build_task

    config = with_data(network.config, args)
    splits = build_task(config).like(network.about).load(config.training.seed)
    train = splits.train.subset(slice(0)) if splits.collector else splits.train
    return replace(tried_out(network.learner, splits, prepare=network.prepare), train=train)


def samples_of(
    splits: "tasks.Splits", args: argparse.Namespace, screen: Console, wanted: Sequence[str] = ()
) -> "dict[str, tasks.Samples]":
    """Return the samples of splits that are wanted, of which an empty one is a DataError, by default of all that have samples.

    Warns of others than the run knew.
    """
    found = {name: getattr(splits, name) for name in dict.fromkeys(wanted or SPLITS)}
    empty = [name for name, samples in found.items() if not len(samples)]
    if wanted and empty:
        advice = "choose another --split, or train with data.validation above 0"
        raise DataError(f"{args.directory} has no {' and no '.join(empty)} samples; {advice}")
    known = training.open_run(args.directory).about()["fingerprint"]
    for name in found:
        if splits.fingerprint.get(f"arrays/{name}") != known.get(f"arrays/{name}"):
            screen.warning(f"these are not the {name} samples that the run knew: their SHA-256 differs")
    return {name: samples for name, samples in found.items() if name not in empty}


def cascade_of(network: "training.LoadedNetwork", run: Path) -> "torchsid.Cascade":
    """Return the network of a run, which must have stages; a RunError where it is a plain one."""
    module = network.learner.module
    if isinstance(module, torchsid.Cascade):
        return module
    why = "there is nothing to certify, and no stage to leave at; train with model.network = 'cascade' or 'staged'"
    raise RunError(f"{run} is a plain network, without stages: {why}")
