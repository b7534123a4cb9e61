"""`torchsid evaluate`: what a trained run reaches on its data, stage by stage, and when it may stop."""

import argparse
from pathlib import Path

from torchsid.cli import console, early, results, trained
from torchsid.cli.arguments import Subparsers
from torchsid.errors import ConfigError


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "evaluate", "measure a trained run, stage by stage")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which images (default: %(default)s)")
    early.add_exit_when(parser)
    parser.add_argument(
        "--exit-curve",
        nargs="?",
        choices=early.MEASURES,
        const=early.MEASURES[0],
        help="accuracy on test images against the average stage of exit, thresholds chosen on validation images",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, confusion included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure accuracy, divergence and calibration after every stage, and early exit where it is asked for."""
    from torchsid import training
    from torchsid.study import early_exit
    from torchsid.training.evaluation import evaluate, predict

    if args.exit_curve and args.split != "test":
        problem = f"--split {args.split}: --exit-curve chooses on validation images and measures on test images, leave --split out"
        raise ConfigError([problem], source="command")
    screen = console.choose()
    network = training.load_network(args.directory, args.weights)
    exit_early = early.early_exit(network, args)
    cascade = early.staged_network(network, args.directory) if args.exit_curve else None
    splits = trained.load_data(network, args)
    samples = trained.samples(splits, args.split, args.directory, screen)
    validation = trained.samples(splits, "validation", args.directory, screen) if cascade else None
    measured = evaluate(network.learner, samples, prepare=network.prepare)
    screen.rows(
        [
            {
                f"{args.split}, n = {measured['n']:,}": console.stage_name(stage),
                "accuracy": early.percent(accuracy),
                "KL": f"{kl:.4f}",
                "ECE": f"{ece:.4f}",
            }
            for stage, (accuracy, kl, ece) in enumerate(zip(*(measured[name] for name in ("accuracy", "kl", "ece")), strict=True))
        ]
    )
    if exit_early:
        measured["early_exit"] = early_exit.measure_exits(exit_early, samples, prepare=network.prepare)
        early.print_exits(screen, measured["early_exit"])
    if cascade and validation:
        chosen, answered = (
            (predict(network.learner, part.inputs, prepare=network.prepare), part.target) for part in (validation, samples)
        )
        cost = early_exit.operations(cascade, network.prepare(samples.inputs[:2]))
        measured["exit_curve"] = early_exit.exit_curve(chosen, answered, args.exit_curve, cost)
        early.print_curve(screen, measured["exit_curve"])
    if args.json:
        results.write_json(args.json, {"run": args.directory, "weights": args.weights, "split": args.split, **measured})
        screen.file("evaluation", args.json)
    return 0
