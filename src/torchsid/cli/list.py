"""`torchsid list`: list the names that a configuration may use, each with one line of description."""

import argparse
from collections.abc import Mapping
from pkgutil import resolve_name

from torchsid.cli.console import Console
from torchsid.cli.streams import emit
from torchsid.learners import LEARNERS

LOCKS = ("forward", "update", "backward")  # in the order in which they are waited for

KINDS = {  # where names and descriptions are; none of these modules imports torch
    "recipes": "training.recipes:recipe_names",
    "tasks": "tasks:TASKS.descriptions",
    "data": "tasks.images.datasets:DATASETS.descriptions",
    "models": "models:EXTRACTORS.descriptions",
    "classifiers": "models:CLASSIFIERS.descriptions",
    "networks": "models:NETWORKS.descriptions",
    "heads": "heads:HEADS.descriptions",
    "learners": "learners:LEARNERS.descriptions",
    "loggers": "training.loggers:LOGGERS.descriptions",
    "schedules": "core.schedules:DESCRIPTIONS.copy",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), help="what to list (default: everything)")


def run(args: argparse.Namespace) -> int:
    """Print one table a kind."""
    screen = Console()
    for kind in [args.kind] if args.kind else KINDS:
        more = learners() if kind == "learners" else {}
        rows = [[name, *more.get(name, ()), text] for name, text in sorted(descriptions(kind).items())]
        screen.table([kind, *(("network", "waits for") if more else ()), "description"], rows)
        if not args.kind:
            emit()
    return 0


def descriptions(kind: str) -> Mapping[str, str]:
    """Return names and descriptions."""
    found: Mapping[str, str] = resolve_name(f"torchsid.{KINDS[kind]}")()
    return found


def learners() -> Mapping[str, tuple[str, str]]:
    """Return of every training method the networks that it takes, and what a layer of it waits for."""
    found = LEARNERS.attributes("networks", "locks")
    return {
        name: (", ".join(networks), ", ".join(lock for lock in LOCKS if lock in locks) or "nothing")
        for name, (networks, locks) in found.items()
    }
