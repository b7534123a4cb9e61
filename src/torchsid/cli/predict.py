"""`torchsid predict`: what a trained run sees in image files, and how its belief grew from stage to stage."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console
from torchsid.cli.arguments import Subparsers, add_weights, positive
from torchsid.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("predict", help="classify image files, stage by stage", allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image file")
    parser.add_argument("--top", type=positive, default=3, metavar="K", help="classes to show (default: %(default)s)")
    add_weights(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one table an image: the most likely classes, and the belief in them after every stage."""
    from torchsid import training
    from torchsid.evidence.evaluation import predict

    network = training.load_network(args.directory, args.weights)
    about = training.open_run(args.directory).manifest()["data"]
    images = _read(args.images, about["channels"], about["image_size"])
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
    return 0


def _read(paths: Sequence[Path], channels: int, size: int) -> "Tensor":
    """Return the images as uint8 `[N, C, H, W]`.

    Raises:
        DataError: names every file that is no image.
    """
    import torch

    from torchsid.data import read_image

    images, problems = [], []
    for path in paths:
        try:
            images.append(read_image(path, channels, size))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return torch.stack(images)
