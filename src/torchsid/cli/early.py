"""Early exit on the command line: the option, a trained network that takes it, and the tables of what came of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.console import Console, stage_name
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


def early_exit(network: "LoadedNetwork", rule: str, run: Path) -> "EarlyExit":
    """Return a trained network that leaves early.

    Raises:
        ConfigError: the text states no rule.
        RunError: the network has no stages.
    """
    from torchsid.anytime import EarlyExit, ExitRule

    return EarlyExit(staged_network(network, run), ExitRule.parse(rule))


def staged_network(network: "LoadedNetwork", run: Path) -> "Cascade":
    """Return the network of a run, which must have stages to leave at.

    Raises:
        RunError: it is a plain network.
    """
    module = network.learner.module
    if not isinstance(module, Cascade):
        raise RunError(
            f"{run} is a plain network, which has no belief before its last layer, so there is no stage to leave at: "
            "train with model.network = 'cascade' or 'staged'"
        )
    return module


def print_exits(screen: Console, found: dict[str, Any]) -> None:
    """Print what `measure_exits` found: where images left, how right they were, and what it cost."""
    print()
    screen.table(
        [f"exit when {found['rule']}", "images", "their accuracy"],
        [
            [stage_name(row["stage"]), _percent(row["share"]), "–" if row["accuracy"] is None else _percent(row["accuracy"])]
            for row in found["exits"]
        ],
    )
    print(f"accuracy {_percent(found['accuracy'])}; {summary(found['average_depth'], len(found['exits']), found['operations'])}")
    if found["whole_batches"]:
        print(stays_whole(found["whole_batches"]))


def print_curve(screen: Console, curve: dict[str, Any]) -> None:
    """Print the points of `exit_curve`: what the validation images chose, and what the test images say."""
    print()
    sign = ">" if curve["measure"] == "confidence" else "<"
    splits = [f"{split}, n = {curve[f'{split}_n']:,}" for split in ("validation", "test")]
    screen.table(
        ["loss allowed", f"{curve['measure']} {sign}", *splits, "average exit", "multiply-adds"],
        [
            [
                f"{100 * point['loss']:.1f} points",
                f"{point['threshold']:.6g}",
                _percent(point["validation"]["accuracy"]),
                _percent(point["test"]["accuracy"]),
                f"{point['test']['average_depth']:.2f}",
                _percent(point["test"]["operations"]),
            ]
            for point in curve["points"]
        ],
    )


def summary(average_depth: float, stages: int, operations: float) -> str:
    """Return a sentence on what early exit spared."""
    return f"average exit after stage {average_depth:.2f} of {stages}, {_percent(operations)} of the multiply-adds of inference"


def stays_whole(reason: str) -> str:
    """Return the remark that sure images wait for others."""
    return f"sure images wait for the rest of their batch, which cannot be divided: {reason}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
