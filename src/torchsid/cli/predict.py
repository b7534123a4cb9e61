"""`torchsid predict`: classify image files, and show how the belief grew from stage to stage, or until it was sure."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid import training
from torchsid.cli.arguments import add_shared, cascade_of, positive
from torchsid.cli.console import Console, abridged, stage_name
from torchsid.cli.evaluate import print_cost
from torchsid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--exit-when")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=positive, default=3, metavar="K", help="classes to show (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print one table an image: the most likely classes, and the belief in them after every stage, or at the first sure one."""
    from torchsid.anytime import EarlyExit
    from torchsid.study.early_exit import operations
    from torchsid.training.evaluation import predict

    network, screen = training.load_network(args.directory, args.weights), Console()
    exit_early = EarlyExit(cascade_of(network, args.directory), args.exit_when) if args.exit_when else None
    samples = _read(args.images, network)

    def show(path: Path, stages: Sequence[str], beliefs: "Tensor") -> None:
        """Print the beliefs `[stages, C]` in the classes that the last one finds most likely."""
        likely = beliefs[-1].topk(min(args.top, beliefs.shape[1])).indices.tolist()
        grown = [[network.class_names[name], *(f"{100 * p:.1f} %" for p in beliefs[:, name].tolist())] for name in likely]
        screen.table([path.name, *abridged(stages, "…")], [[name, *abridged(cells, "…")] for name, *cells in grown])

    if exit_early is None:
        grown = predict(network.learner, samples, prepare=network.prepare).exp()  # [L+1, N, C]
        for index, path in enumerate(args.images):
            show(path, [stage_name(stage) for stage in range(len(grown))], grown[:, index])
        return 0
    x = network.prepare(samples)
    answer, stages = exit_early(x), exit_early.cascade.depth  # a loaded network is in evaluation mode
    for path, belief, depth in zip(args.images, answer.log_belief.exp(), answer.depth.tolist(), strict=True):
        show(path, [f"stage {depth} of {stages}"], belief[None])
    spared = {"average_depth": float(answer.depth.double().mean()), "whole_batches": exit_early.whole_batches}
    print_cost(screen, spared | {"operations": operations(exit_early.cascade, x[:2]).share(answer.computed)}, stages)
    return 0


def _read(names: Sequence[Path], network: "training.LoadedNetwork") -> "Tensor":
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
