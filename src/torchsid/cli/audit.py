"""`torchsid audit`: which labels of the training images are probably wrong, as the stages of a trained run see them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results, trained
from torchsid.cli.arguments import Subparsers, positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "audit", "rank training images whose labels are probably wrong")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="images to show (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdict on every training image")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the most suspicious labels, how many are disputed and, where the true ones are known, how many were found."""
    from torchsid import training
    from torchsid.evidence.audit import audit, detection, disputes, rankings
    from torchsid.learners.sid import SID

    screen = console.choose()
    network = training.load_network(args.directory, args.weights)
    splits = trained.load_data(network, args)
    images = trained.images(splits, "train", args.directory, screen)
    every_stage = isinstance(network.learner, SID)
    verdicts = audit(network.learner, images, prepare=network.prepare, last_alone=not every_stage)
    # Without noise that was added on purpose, the labels are all there is: nobody knows which of them are wrong.
    clean = None if splits.noise["kind"] == "none" else images.clean_labels
    columns: dict[str, Tensor] = {
        "image": verdicts.score.argsort(stable=True),
        "label": images.labels,
        "suggested": verdicts.suggested,
        "score": verdicts.score,
        "agrees_from": verdicts.agrees_from,
    }
    columns |= {} if clean is None else {"true": clean}
    ranked = {name: (column if name == "image" else column[columns["image"]]).tolist() for name, column in columns.items()}

    _print_top(screen, ranked, network.class_names, args.top, stages=network.config.model.depth if every_stage else 1)
    if not every_stage:
        print("only the last belief counts: this network was trained end to end, its stages are none that answer")
    found: dict[str, Any] = {"labels": disputes(verdicts, images.labels, clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(images):
        found["rankings"] = detection(rankings(verdicts, images.labels), images.labels != clean)
    _print_found(screen, found, len(images))
    if args.json:
        about = {"run": str(args.directory), "weights": args.weights, "n": len(images), "noise": dict(splits.noise)}
        results.write_json(args.json, about | found | {"ranked": ranked})
        screen.file("audit", args.json)
    return 0


def _print_top(screen: console.Console, ranked: dict[str, list[Any]], names: "Sequence[str]", top: int, *, stages: int) -> None:
    rows = []
    for image, label, suggested, score, agrees, *true in list(zip(*ranked.values(), strict=True))[:top]:
        when = f"stage {agrees}" if agrees <= stages else "never"
        rows.append([str(image), names[label], names[suggested], f"{score:+.3f}", when, *(names[each] for each in true)])
    header = ["training image", "label", "suggested", "score", "agrees from", *(["true"] if "true" in ranked else [])]
    screen.table(header, rows)


def _print_found(screen: console.Console, found: dict[str, Any], count: int) -> None:
    labels = found["labels"]
    print(f"\n{labels['disputed']:,} of {count:,} labels are disputed: the stages believe more in another class")
    if labels.get("wrong"):
        precision, recall, corrected = (_percent(labels[name]) for name in ("precision", "recall", "corrected"))
        print(f"of these, {precision} are wrong; of the {labels['wrong']:,} labels that are wrong, {recall} are disputed")
        print(f"the suggested class is the true one for {corrected} of the wrong labels that are disputed")
    if "rankings" in found:
        print()
        screen.table(
            ["ranked by", "AUROC", f"precision at {labels['wrong']:,}", f"recall at {2 * labels['wrong']:,}"],
            [
                [name, f"{row['auroc']:.4f}", _percent(row["precision_at_k"]), _percent(row["recall_at_2k"])]
                for name, row in found["rankings"].items()
            ],
        )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
