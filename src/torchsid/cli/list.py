"""`torchsid list`: list the names that a configuration may use, each with one line of description."""

import argparse
from collections.abc import Callable, Mapping

from torchsid.cli.console import Console

KINDS = ("recipes", "tasks", "data", "models", "classifiers", "networks", "heads", "learners", "schedules")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument("kind", nargs="?", choices=KINDS, help="what to list (default: everything)")


def run(args: argparse.Namespace) -> int:
    """Print one table a kind."""
    screen = Console()
    for kind in [args.kind] if args.kind else KINDS:
        screen.table([kind, "description"], [list(row) for row in sorted(descriptions(kind).items())])
        if not args.kind:
            print()
    return 0


def descriptions(kind: str) -> Mapping[str, str]:
    """Return names and descriptions; none of these modules imports torch."""
    from torchsid import heads, learners, models, tasks
    from torchsid.core import schedules
    from torchsid.tasks.images.datasets import DATASETS
    from torchsid.training import recipes

    tables: dict[str, Callable[[], Mapping[str, str]]] = {
        "recipes": recipes.recipe_names,
        "tasks": tasks.TASKS.descriptions,
        "data": DATASETS.descriptions,
        "models": models.EXTRACTORS.descriptions,
        "classifiers": models.CLASSIFIERS.descriptions,
        "networks": models.NETWORKS.descriptions,
        "heads": heads.HEADS.descriptions,
        "learners": learners.LEARNERS.descriptions,
        "schedules": lambda: {str(name): text for name, text in schedules.DESCRIPTIONS.items()},
    }
    return tables[kind]()
