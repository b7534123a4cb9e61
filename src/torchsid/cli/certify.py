"""`torchsid certify`: which statements of the theory hold for a trained cascade, on which share of which data."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results, trained
from torchsid.cli.arguments import Subparsers
from torchsid.errors import DataError, RunError

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.data import ImageSet

SPLITS = ("train", "validation", "test")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "certify", "say which statements of the theory hold, and where")
    parser.add_argument("--split", nargs="+", choices=SPLITS, help="which images (default: all there are)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, every failing sample included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what theory says of the run, then for each split and set of labels a table and the findings in words."""
    from torchsid import training
    from torchsid.cli import certify_tables
    from torchsid.evidence.certify.certificate import certify
    from torchsid.evidence.certify.theory import scope
    from torchsid.training.descent import objective_of

    network = training.load_network(args.directory, args.weights)
    config = network.config
    if config.model.network == "plain":
        raise RunError(f"{args.directory} has model.network = 'plain', without stages: there is nothing to certify")
    splits = trained.load_data(network, args)
    chosen = {name: getattr(splits, name) for name in dict.fromkeys(args.split or SPLITS)}
    if args.split and (empty := [name for name, images in chosen.items() if not len(images)]):
        raise DataError(f"{args.directory} has no {' and no '.join(empty)} images; choose another --split")

    screen = console.choose()
    objective = objective_of(config.learner)
    theory = [*scope(objective), *certify_tables.circumstances(config)]
    print("\n".join(theory), flush=True)
    certificates: list[dict[str, Any]] = []
    for name, images in chosen.items():
        if not len(images):
            continue
        trained.warn_of_others(splits, name, args.directory, screen)
        found = certify(network.learner, images.images, _labels(name, images), objective, prepare=network.prepare)
        for labels, certificate in found.items():
            print()
            certify_tables.show(screen, f"{name}, {labels} labels", certificate, network.class_names)
            certificates.append({"split": name, "labels": labels, **asdict(certificate)})
    if args.json:
        about = {"run": str(args.directory), "weights": args.weights, "class_names": network.class_names, "theory": theory}
        results.write_json(args.json, about | {"objective": asdict(objective), "certificates": certificates})
        screen.file("certificate", args.json)
    return 0


def _labels(split: str, images: "ImageSet") -> dict[str, "Tensor"]:
    """Return the labels to certify against: those that a run has, and where noise has changed some, the clean ones too."""
    labels = {"training" if split == "train" else "held-out": images.labels}
    if bool((images.labels != images.clean_labels).any()):
        labels["clean"] = images.clean_labels
    return labels
