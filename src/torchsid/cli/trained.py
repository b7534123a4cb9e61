"""A trained run and the data it was trained on, for the verbs that measure it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli.arguments import Subparsers, add_weights
from torchsid.cli.console import Console
from torchsid.errors import DataError

if TYPE_CHECKING:
    from torchsid.tasks import Samples, Splits
    from torchsid.training import LoadedNetwork


def add_parser_of_a_run(subparsers: "Subparsers[argparse.ArgumentParser]", verb: str, help_: str) -> argparse.ArgumentParser:
    """Add a verb that measures a run on its data, with RUN, `--weights` and `--data`; return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(verb, help=help_, allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    add_weights(parser)
    parser.add_argument("--data", metavar="DIR", help="where the data files lie (default: where they lay in training)")
    return parser


def load_data(network: "LoadedNetwork", args: argparse.Namespace) -> "Splits":
    """Return the data set that the network was trained on, from where it lies now."""
    from torchsid.training.build import build_task

    config = network.config
    if args.data is not None:
        config = replace(config, data=replace(config.data, path=args.data))
    return build_task(config).load(config.training.seed)


def samples(splits: "Splits", split: str, run: Path, screen: Console) -> "Samples":
    """Return the samples of `train`, `validation` or `test`, and warn where they are others than the run knew.

    Raises:
        DataError: there are none.
    """
    found: Samples = getattr(splits, split)
    if not len(found):
        raise DataError(f"{run} has no {split} samples; choose the other --split, or train with data.validation above 0")
    warn_of_others(splits, split, run, screen)
    return found


def warn_of_others(splits: "Splits", split: str, run: Path, screen: Console) -> None:
    """Warn where the samples of a split are others than the run knew."""
    from torchsid import training

    trained_on = training.open_run(run).manifest()["data"]["fingerprint"]
    if splits.fingerprint.get(f"arrays/{split}") != trained_on.get(f"arrays/{split}"):
        screen.warning(f"these are not the {split} samples that the run knew: their SHA-256 differs")
