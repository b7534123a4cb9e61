"""`torchsid predict`: what a trained run sees in image files, and how its belief grew from stage to stage, or until it was sure."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console, early
from torchsid.cli.arguments import Subparsers, add_weights, positive
from torchsid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.anytime import EarlyExit
    from torchsid.training import LoadedNetwork


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("predict", help="classify image files, stage by stage", allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=positive, default=3, metavar="K", help="classes to show (default: %(default)s)")
    early.add_exit_when(parser)
    add_weights(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one table an image: the most likely classes, and the belief in them after every stage, or at the first sure one."""
    from torchsid import training

    network = training.load_network(args.directory, args.weights)
    exit_early = early.early_exit(network, args.exit_when, args.directory) if args.exit_when else None
    images = _read(args.images, network)
    if exit_early:
        _print_exits(network, exit_early, images, args)
    else:
        _print_stages(network, images, args)
    return 0


def _print_stages(network: "LoadedNetwork", images: "Tensor", args: argparse.Namespace) -> None:
    from torchsid.training.evaluation import predict

    beliefs = predict(network.learner, images, prepare=network.prepare).exp()  # [L+1, N, C]
    screen = console.choose()
    stages = console.abridged([console.stage_name(stage) for stage in range(len(beliefs))])
    for index, path in enumerate(args.images):
        grown = beliefs[:, index]  # [L+1, C]
        likely = grown[-1].topk(min(args.top, grown.shape[1])).indices.tolist()
        rows = [
            [network.class_names[name], *console.abridged([f"{100 * p:.1f} %" for p in grown[:, name].tolist()])] for name in likely
        ]
        screen.table([path.name, *stages], rows)


def _print_exits(network: "LoadedNetwork", exit_early: "EarlyExit", images: "Tensor", args: argparse.Namespace) -> None:
    from torchsid.study.early_exit import operations

    x = network.prepare(images)
    answer = exit_early(x)  # a loaded network is in evaluation mode
    screen, stages = console.choose(), exit_early.cascade.depth
    for path, belief, depth in zip(args.images, answer.log_belief.exp(), answer.depth.tolist(), strict=True):
        likely = belief.topk(min(args.top, len(belief)))
        named = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
        screen.table(
            [path.name, f"stage {depth} of {stages}"], [[network.class_names[name], f"{100 * p:.1f} %"] for name, p in named]
        )
    share = operations(exit_early.cascade, x[:2]).share(answer.computed)
    print(early.summary(float(answer.depth.double().mean()), stages, share))
    if exit_early.whole_batches:
        print(early.stays_whole(exit_early.whole_batches))


def _read(names: Sequence[Path], network: "LoadedNetwork") -> "Tensor":
    """Return the samples as they are stored, `[N, ...]`.

    Raises:
        DataError: names every one that cannot be read.
    """
    import torch

    samples, problems = [], []
    for name in names:
        try:
            samples.append(network.task.read(str(name), network.about))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return torch.cat(samples)
