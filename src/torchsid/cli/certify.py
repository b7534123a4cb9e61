"""`torchsid certify`: measure which statements of the theory hold for a trained cascade, and for what share of which data."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torchsid import training
from torchsid.cli.arguments import SPLITS, about_run, add_shared, cascade_of, load_splits, samples_of
from torchsid.cli.console import Console, write_json
from torchsid.cli.streams import emit
from torchsid.errors import ConfigError, MissingPackageError, RunError, unknown_name

if TYPE_CHECKING:
    from torchsid.core.objective import LocalObjective
    from torchsid.study.certify.page import Certified, Subject
    from torchsid.study.positions import Flat


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--data", "--json")
    parser.add_argument("--split", nargs="+", choices=SPLITS, help="which samples (default: all)")
    parser.add_argument("--classes", nargs=3, metavar="CLASS", help="corners of the triangle (default: those most often confused)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="where the page goes (default: certificate.html in RUN)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write the page's figures as SVG files too")


def run(args: argparse.Namespace) -> int:
    """Print what theory says of the run, then for each split and set of labels a table of the stages; write the page."""
    from torchsid.study.certify.answers import Answers
    from torchsid.study.certify.certificate import certify
    from torchsid.study.certify.page import Certified, statement_table
    from torchsid.training.evaluation import objective_of

    screen, network = Console(), training.load_network(args.directory, args.weights)
    cascade_of(network, args.directory)
    objective = objective_of(network.learner)
    subject = _subject(network, objective, args)
    splits = samples_of(load_splits(network, args), args, screen, args.split or ())
    emit("\n".join([*subject.theory, ""]))
    found: list[Certified] = []
    held = []
    for name, samples in splits.items():
        parts: list[Answers] = []  # what the pictures need, from the same pass over the samples

        def keep(flat: "Mapping[str, Flat]", parts: list[Answers] = parts) -> None:
            parts.append(Answers.of(flat))

        certificates = certify(network.learner, samples, objective, prepare=network.prepare, onlooker=keep)
        found.append(Certified(split=name, samples=samples, certificates=certificates, answers=Answers.joined(parts)))
        for labels, certificate in certificates.items():
            screen.show(statement_table(certificate, f"{name}, {labels} labels"), by_stage=True)
            held.append({"split": name, "labels": labels, **asdict(certificate)})
    about = about_run(args) | {"class_names": subject.class_names, "theory": subject.theory}
    write_json(screen, args, "certificate", about | {"objective": asdict(objective), "certificates": held})
    _write_page(args, subject, found, screen)
    return 0


def _subject(network: "training.LoadedNetwork", objective: "LocalObjective", args: argparse.Namespace) -> "Subject":
    from torchsid.study.certify.certificate import caveats, scope
    from torchsid.study.certify.page import Subject
    from torchsid.training.evaluation import predict

    config = network.config
    name = network.about.get("name", config.task)
    alphas = ", ".join(dict.fromkeys(f"{alpha:g}" for alpha in objective.alphas(cascade_of(network, args.directory).depth)))
    return Subject(
        name=args.directory.resolve().name,
        description=f"{name} · α {alphas}, {objective.direction} · {args.weights} weights · samples are not augmented",
        class_names=network.class_names,
        theory=[*scope(objective), *caveats(network.learner)],
        log_beliefs=lambda inputs: predict(network.learner, inputs, prepare=network.prepare),
        show=lambda sample: network.task.show(sample, network.about),
        classes=_corners(args.classes, network.class_names) if args.classes else None,
    )


def _corners(names: Sequence[str], class_names: Sequence[str]) -> tuple[int, int, int]:
    """Return the indices of three different classes; a ConfigError where a name is no class, or given twice."""
    problems = [unknown_name("class", name, class_names) for name in dict.fromkeys(names) if name not in class_names]
    if len(set(names)) < len(names):
        problems.append(f"--classes {' '.join(names)}: a triangle needs three different classes")
    if problems:
        raise ConfigError(problems, source="command")
    first, second, third = (list(class_names).index(name) for name in names)
    return first, second, third


def _write_page(args: argparse.Namespace, subject: "Subject", found: "Sequence[Certified]", screen: Console) -> None:
    """Write the page and its figures; where nobody asked for them, the tables stand without."""
    from torchsid.study.certify.page import certificate_page
    from torchsid.study.files import write_figures, write_page

    out = args.page or args.directory / "certificate.html"
    try:
        page = certificate_page(subject, found)
        write_page(out, page)
        if args.figures:
            write_figures(args.figures, page.drawings())
    except (RunError, MissingPackageError) as error:
        if args.page or args.figures:
            raise
        screen.warning(f"no page: {error}")
    else:
        screen.file("page", out)
