"""Early exit on the command line: the option, a trained network that takes it, and the tables of what came of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.console import MISSING, Console, stage_name
from torchsid.errors import RunError

if TYPE_CHECKING:
    from torchsid.anytime import EarlyExit
    from torchsid.core.cascade import Cascade
    from torchsid.training import LoadedNetwork

MEASURES = ("confidence", "entropy")


def add_exit_when(parser: argparse.ArgumentParser) -> None:
    """Add `--exit-when`."""
    parser.add_argument(
        "--exit-when", metavar="RULE", help="leave at the first stage that is sure: 'confidence>0.95' or 'entropy<0.1' (quoted)"
    )


def early_exit(network: "LoadedNetwork", args: argparse.Namespace) -> "EarlyExit | None":
    """Return a trained network that leaves early, if `--exit-when` asks for one.

    Raises:
        ConfigError: the text states no rule.
        RunError: the network has no stages.
    """
    from torchsid.anytime import EarlyExit

    return EarlyExit(staged_network(network, args.directory), args.exit_when) if args.exit_when else None


def staged_network(network: "LoadedNetwork", run: Path) -> "Cascade":
    """Return the network of a run, which must have stages to leave at.

    Raises:
        RunError: it is a plain network.
    """
    from torchsid.core.cascade import Cascade

    module = network.learner.module
    if isinstance(module, Cascade):
        return module
    why = "has no belief before its last layer, so there is no stage to leave at: train with model.network = 'cascade' or 'staged'"
    raise RunError(f"{run} is a plain network, which {why}")


def print_exits(screen: Console, found: dict[str, Any]) -> None:
    """Print what `measure_exits` found: where images left, how right they were, and what it cost."""
    stage, exits = f"exit when {found['rule']}", found["exits"]
    screen.rows(
        [{stage: stage_name(row["stage"]), "images": percent(row["share"]), "accuracy": percent(row["accuracy"])} for row in exits]
    )
    print_cost(screen, found["average_depth"], len(exits), found["operations"], found["whole_batches"], found["accuracy"])


def print_cost(
    screen: Console, average_depth: float, stages: int, operations: float, whole_batches: str, accuracy: float | None = None
) -> None:
    """Print what early exit spared, and why no more where batches cannot be divided."""
    spared = {"average exit": f"stage {average_depth:.2f} of {stages}", "multiply-adds": percent(operations)}
    screen.rows([spared if accuracy is None else {"accuracy": percent(accuracy), **spared}])
    if whole_batches:
        print(f"sure images wait for the rest of their batch, which cannot be divided: {whole_batches}")


def print_curve(screen: Console, curve: dict[str, Any]) -> None:
    """Print the points of `exit_curve`: what the validation images chose, and what the test images say."""
    sign = ">" if curve["measure"] == "confidence" else "<"
    screen.rows(
        [
            {
                "loss allowed": f"{100 * point['loss']:.1f} points",
                f"{curve['measure']} {sign}": f"{point['threshold']:.6g}",
                f"validation, n = {curve['validation_n']:,}": percent(point["validation"]["accuracy"]),
                f"test, n = {curve['test_n']:,}": percent(point["test"]["accuracy"]),
                "average exit": f"{point['test']['average_depth']:.2f}",
                "multiply-adds": percent(point["test"]["operations"]),
            }
            for point in curve["points"]
        ]
    )


def percent(share: float | None) -> str:
    """Return a share in per cent."""
    return MISSING if share is None else f"{100 * share:.2f} %"
