"""`torchsid evaluate`: what a trained run reaches on its data, stage by stage."""

import argparse
from dataclasses import replace
from pathlib import Path

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers, add_weights
from torchsid.errors import DataError


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("evaluate", help="measure a trained run, stage by stage", allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    add_weights(parser)
    parser.add_argument("--data", metavar="DIR", help="where the data files lie (default: where they lay in training)")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which images (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, confusion included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure accuracy, divergence and calibration after every stage."""
    from torchsid import data, training
    from torchsid.evidence.evaluation import evaluate

    network = training.load_network(args.directory, args.weights)
    source = network.config.data if args.data is None else replace(network.config.data, path=args.data)
    splits = data.load(source, seed=network.config.training.seed)
    images = splits.test if args.split == "test" else splits.validation
    if not len(images):
        raise DataError(f"{args.directory} has no {args.split} images; choose the other --split")
    measured = evaluate(network.learner, images, prepare=network.prepare)

    screen = console.choose()
    trained_on = training.open_run(args.directory).manifest()["data"]["fingerprint"]
    if splits.fingerprint[f"arrays/{args.split}"] != trained_on[f"arrays/{args.split}"]:
        screen.warning(f"these are not the {args.split} images that the run knew: their SHA-256 differs")
    screen.table(
        [f"{args.split}, n = {measured['n']:,}", "accuracy", "KL", "ECE"],
        [
            [console.stage_name(stage), f"{100 * accuracy:.2f} %", f"{kl:.4f}", f"{ece:.4f}"]
            for stage, (accuracy, kl, ece) in enumerate(zip(measured["accuracy"], measured["kl"], measured["ece"], strict=True))
        ],
    )
    if args.json:
        about = {"run": str(args.directory), "weights": args.weights, "split": args.split}
        results.write_json(args.json, about | measured)
        screen.file("evaluation", args.json)
    return 0
