"""`torchsid certify`: which statements of the theory hold for a trained cascade, on which share of which data, and why."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid.cli import console, results, trained
from torchsid.cli.arguments import Subparsers
from torchsid.errors import ConfigError, DataError, RunError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchsid.core.objective import LocalObjective
    from torchsid.show.certificate.part import Part, Subject
    from torchsid.tasks import Samples, Splits
    from torchsid.training import LoadedNetwork

SPLITS = ("train", "validation", "test")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "certify", "say which statements of the theory hold, where, and why")
    parser.add_argument("--split", nargs="+", choices=SPLITS, help="which images (default: all there are)")
    parser.add_argument("--classes", nargs=3, metavar="CLASS", help="corners of the triangle (default: those most often confused)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="where the page goes (default: certificate.html in RUN)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write the page's figures as SVG files too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, every failing sample included")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what theory says of the run, then for each split and set of labels a table and the findings; write the page."""
    from torchsid import training
    from torchsid.cli import certify_tables
    from torchsid.show.certificate.statements import heading
    from torchsid.training.descent import objective_of

    network = training.load_network(args.directory, args.weights)
    if network.config.model.network == "plain":
        raise RunError(f"{args.directory} has model.network = 'plain', without stages: there is nothing to certify")
    screen, objective = console.choose(), objective_of(network.learner)
    subject = _subject(network, objective, args)
    splits = trained.load_data(network, args)
    chosen = _chosen(splits, args)

    print("\n".join(subject.theory), flush=True)
    parts = []
    for name, images in chosen.items():
        trained.warn_of_others(splits, name, args.directory, screen)
        part = _certified(network, name, images, objective)
        for labels, certificate in part.certificates.items():
            print()
            certify_tables.show(screen, heading(name, labels, certificate), certificate, network.class_names)
        parts.append(part)
    if args.json:
        _write_json(args, subject, objective, parts)
        screen.file("certificate", args.json)
    _write_page(args, subject, parts, screen)
    return 0


def _chosen(splits: "Splits", args: argparse.Namespace) -> "dict[str, Samples]":
    """Return the images of the splits asked for, or of all that have some.

    Raises:
        DataError: a split asked for has none.
    """
    found = {name: getattr(splits, name) for name in dict.fromkeys(args.split or SPLITS)}
    empty = [name for name, images in found.items() if not len(images)]
    if args.split and empty:
        raise DataError(f"{args.directory} has no {' and no '.join(empty)} images; choose another --split")
    return {name: images for name, images in found.items() if name not in empty}


def _certified(network: "LoadedNetwork", split: str, images: "Samples", objective: "LocalObjective") -> "Part":
    """Return the certificates of a split, and what its pictures need, from one pass over the images."""
    from torchsid.show.certificate.part import Part
    from torchsid.study.atlas import AtlasMaker
    from torchsid.study.certify.certificate import certify

    labels = _labels(split, images)
    maker = AtlasMaker(labels)
    found = certify(network.learner, images.inputs, labels, objective, prepare=network.prepare, onlooker=maker.add)
    return Part(split, images.inputs, labels, found, maker.atlas())


def _labels(split: str, images: "Samples") -> "dict[str, Tensor]":
    """Return the labels to certify against: those that a run has, and where noise has changed some, the clean ones too."""
    labels = {"training" if split == "train" else "held-out": images.target}
    if images.clean_target is not None and bool((images.target != images.clean_target).any()):
        labels["clean"] = images.clean_target
    return labels


def _subject(network: "LoadedNetwork", objective: "LocalObjective", args: argparse.Namespace) -> "Subject":
    from torchsid.show.certificate.findings import circumstances
    from torchsid.show.certificate.part import Subject
    from torchsid.study.certify.theory import scope
    from torchsid.training.evaluation import predict

    config = network.config
    alphas = ", ".join(dict.fromkeys(f"{alpha:g}" for alpha in objective.alphas(config.model.depth)))
    description = (
        f"Data {config.data.name}",
        f"{config.model.depth} stage{'s' if config.model.depth > 1 else ''}",
        f"α {alphas}, {objective.direction}",
        f"{args.weights} weights",
    )
    return Subject(
        name=args.directory.resolve().name,
        description=" · ".join(description),
        class_names=network.class_names,
        theory=[*scope(objective), *circumstances(config)],
        log_beliefs=lambda images: predict(network.learner, images, prepare=network.prepare),
        classes=_corners(args.classes, network.class_names) if args.classes else None,
    )


def _corners(names: "Sequence[str]", class_names: "Sequence[str]") -> tuple[int, int, int]:
    """Return the indices of three different classes.

    Raises:
        ConfigError: a name is no class, or given twice.
    """
    problems = [unknown_name("class", name, class_names) for name in dict.fromkeys(names) if name not in class_names]
    if len(set(names)) < len(names):
        problems.append(f"--classes {' '.join(names)}: a triangle needs three different classes")
    if problems:
        raise ConfigError(problems, source="command")
    first, second, third = (list(class_names).index(name) for name in names)
    return first, second, third


def _write_json(args: argparse.Namespace, subject: "Subject", objective: "LocalObjective", parts: "Sequence[Part]") -> None:
    about = {"run": str(args.directory), "weights": args.weights, "class_names": subject.class_names, "theory": subject.theory}
    certificates = [
        {"split": part.split, "labels": labels, **asdict(certificate)}
        for part in parts
        for labels, certificate in part.certificates.items()
    ]
    results.write_json(args.json, about | {"objective": asdict(objective), "certificates": certificates})


def _write_page(args: argparse.Namespace, subject: "Subject", parts: "Sequence[Part]", screen: console.Console) -> None:
    """Write the page; where nobody asked for it, the tables stand without it."""
    from torchsid.show.certificate.page import render

    try:
        page = render(subject, parts, args.page or args.directory / "certificate.html", figures=args.figures)
    except RunError as error:
        if args.page or args.figures:
            raise
        screen.warning(f"no page: {error}")
    else:
        screen.file("page", page)
