"""`torchsid certify`: which statements of the theory hold for a trained cascade, on which share of which data."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers, add_weights
from torchsid.errors import DataError, RunError

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.data import ImageSet

SPLITS = ("train", "validation", "test")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("certify", help="say which statements of the theory hold, and where", allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUN", help="the run's directory")
    add_weights(parser)
    parser.add_argument("--data", metavar="DIR", help="where the data files lie (default: where they lay in training)")
    parser.add_argument("--split", nargs="+", choices=SPLITS, help="which images (default: all there are)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, every failing sample included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what theory says of the run, then for each split and set of labels a table and the findings in words."""
    from torchsid import data, training
    from torchsid.cli import certify_tables
    from torchsid.evidence.certify.certificate import certify
    from torchsid.evidence.certify.theory import scope
    from torchsid.training.descent import objective_of

    network = training.load_network(args.directory, args.weights)
    config = network.config
    if config.model.network == "plain":
        raise RunError(f"{args.directory} has model.network = 'plain', without stages: there is nothing to certify")
    source = config.data if args.data is None else replace(config.data, path=args.data)
    splits = data.load(source, seed=config.training.seed)
    chosen = {name: getattr(splits, name) for name in dict.fromkeys(args.split or SPLITS)}
    if args.split and (empty := [name for name, images in chosen.items() if not len(images)]):
        raise DataError(f"{args.directory} has no {' and no '.join(empty)} images; choose another --split")

    screen = console.choose()
    objective = objective_of(config.learner)
    theory = [*scope(objective), *certify_tables.circumstances(config)]
    print("\n".join(theory), flush=True)
    trained_on = training.open_run(args.directory).manifest()["data"]["fingerprint"]
    certificates: list[dict[str, Any]] = []
    for name, images in chosen.items():
        if not len(images):
            continue
        if splits.fingerprint[f"arrays/{name}"] != trained_on[f"arrays/{name}"]:
            screen.warning(f"these are not the {name} images that the run knew: their SHA-256 differs")
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
