"""A trained run and the data it was trained on, for the verbs that measure it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli.arguments import Subparsers, add_weights
from torchsid.cli.console import Console
from torchsid.errors import DataError

if TYPE_CHECKING:
    from torchsid.tasks.images import DataSplits, ImageSet
    from torchsid.training import LoadedNetwork


def add_parser_of_a_run(subparsers: "Subparsers[argparse.ArgumentParser]", verb: str, help_: str) -> argparse.ArgumentParser:
    """Add a verb that measures a run on its data, with RUN, `--weights` and `--data`; return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(verb, help=help_, allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    add_weights(parser)
    parser.add_argument("--data", metavar="DIR", help="where the data files lie (default: where they lay in training)")
    return parser


def load_data(network: "LoadedNetwork", args: argparse.Namespace) -> "DataSplits":
    """Return the data set that the network was trained on, from where it lies now."""
    from torchsid.tasks import images as data

    config = network.config
    return data.load(config.data if args.data is None else replace(config.data, path=args.data), seed=config.training.seed)


def images(splits: "DataSplits", split: str, run: Path, screen: Console) -> "ImageSet":
    """Return the images of `train`, `validation` or `test`, and warn where they are others than the run knew.

    Raises:
        DataError: there are none.
    """
    found: ImageSet = getattr(splits, split)
    if not len(found):
        raise DataError(f"{run} has no {split} images; choose the other --split, or train with data.validation above 0")
    warn_of_others(splits, split, run, screen)
    return found


def warn_of_others(splits: "DataSplits", split: str, run: Path, screen: Console) -> None:
    """Warn where the images of a split are others than the run knew."""
    from torchsid import training

    trained_on = training.open_run(run).manifest()["data"]["fingerprint"]
    if splits.fingerprint[f"arrays/{split}"] != trained_on[f"arrays/{split}"]:
        screen.warning(f"these are not the {split} images that the run knew: their SHA-256 differs")
