"""`torchsid audit`: which labels of the training images are probably wrong, as the stages of a trained run see them."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results, trained
from torchsid.cli.arguments import Subparsers, positive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from torchsid.tasks import Samples
    from torchsid.training import LoadedNetwork


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "audit", "rank training images whose labels are probably wrong")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="images to show (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdict on every training image")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page that shows the images")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the most suspicious labels, how many are disputed and, where the true ones are known, how many were found."""
    from torchsid import training
    from torchsid.study.audit import audit, detection, disputes, rankings

    screen = console.choose()
    network = training.load_network(args.directory, args.weights)
    splits = trained.load_data(network, args)
    images = trained.samples(splits, "train", args.directory, screen)
    every_stage = network.learner.trains_stages
    verdicts = audit(network.learner, images, prepare=network.prepare, last_alone=not every_stage)
    # Without noise that was added on purpose, the labels are all there is: nobody knows which of them are wrong.
    clean = None if splits.about["noise"]["kind"] == "none" else images.clean_target
    columns: dict[str, Tensor] = {
        "image": verdicts.score.argsort(stable=True),
        "row": verdicts.score.argsort() if images.rows is None else images.rows,
        "label": images.target,
        "suggested": verdicts.suggested,
        "score": verdicts.score,
        "agrees_from": verdicts.agrees_from,
    }
    columns |= {} if clean is None else {"true": clean}
    ranked = {name: (column if name == "image" else column[columns["image"]]).tolist() for name, column in columns.items()}
    found: dict[str, Any] = {"labels": disputes(verdicts, images.target, clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(images):
        found["rankings"] = detection(rankings(verdicts, images.target), images.target != clean)

    top = _top(ranked, network, args.top, every_stage=every_stage)
    sentences = list(_sentences(found["labels"], len(images), every_stage=every_stage))
    screen.table(list(top[0]), [list(row.values()) for row in top])
    print("", *sentences, sep="\n")
    if "rankings" in found:
        _print_rankings(screen, found)
    if args.json:
        about = {"run": str(args.directory), "weights": args.weights, "n": len(images), "noise": dict(splits.about["noise"])}
        results.write_json(args.json, about | found | {"ranked": ranked})
        screen.file("audit", args.json)
    if args.page:
        shown = images.take(columns["image"][: len(top)])
        _write_page(args, network, shown, top, sentences, every_stage=every_stage)
        screen.file("page", args.page)
    return 0


def _top(ranked: dict[str, list[Any]], network: "LoadedNetwork", count: int, *, every_stage: bool) -> list[dict[str, str]]:
    """Return the first rows of the ranking as they are read, by column."""
    names, stages = network.class_names, network.config.model.depth if every_stage else 1
    rows = []
    for image, row, label, suggested, score, agrees, *true in list(zip(*ranked.values(), strict=True))[:count]:
        shown = {"training image": str(image), "row": str(row), "label": names[label], "suggested": names[suggested]}
        shown |= {"score": f"{score:+.3f}", "agrees from": f"stage {agrees}" if agrees <= stages else "never"}
        rows.append(shown | ({"true": names[true[0]]} if true else {}))
    return rows


def _sentences(labels: dict[str, Any], count: int, *, every_stage: bool) -> "Iterator[str]":
    """Yield what was found in all images."""
    if not every_stage:
        yield "only the last belief counts: this network was trained end to end, its stages are none that answer"
    yield f"{labels['disputed']:,} of {count:,} labels are disputed: the stages believe more in another class"
    if labels.get("wrong"):
        precision, recall, corrected = (_percent(labels[name]) for name in ("precision", "recall", "corrected"))
        yield f"of these, {precision} are wrong; of the {labels['wrong']:,} labels that are wrong, {recall} are disputed"
        yield f"the suggested class is the true one for {corrected} of the wrong labels that are disputed"


def _print_rankings(screen: console.Console, found: dict[str, Any]) -> None:
    wrong = found["labels"]["wrong"]
    print()
    screen.table(
        ["ranked by", "AUROC", f"precision at {wrong:,}", f"recall at {2 * wrong:,}"],
        [
            [name, f"{row['auroc']:.4f}", _percent(row["precision_at_k"]), _percent(row["recall_at_2k"])]
            for name, row in found["rankings"].items()
        ],
    )


def _write_page(
    args: argparse.Namespace,
    network: "LoadedNetwork",
    images: "Samples",
    top: "Sequence[dict[str, str]]",
    sentences: "Sequence[str]",
    *,
    every_stage: bool,
) -> None:
    from torchsid.show.audit import Suspect, render_audit
    from torchsid.study.audit import beliefs_that_judge

    log_beliefs = beliefs_that_judge(network.learner, images.inputs, prepare=network.prepare, last_alone=not every_stage)
    beliefs = log_beliefs.exp().double().numpy()  # [L+1, N, C]
    number = network.class_names.index
    suspects = [
        Suspect(
            image=images.inputs[k].numpy(),
            row=row["row"],
            label=row["label"],
            suggested=row["suggested"],
            true=row.get("true"),
            score=row["score"],
            agrees=row["agrees from"],
            given_belief=beliefs[:, k, number(row["label"])],
            suggested_belief=beliefs[:, k, number(row["suggested"])],
        )
        for k, row in enumerate(top)
    ]
    title = f"{network.config.data.name}: labels to look at"
    subtitle = f"Run {args.directory.name} · {args.weights} weights · seed {network.config.training.seed}"
    command = shlex.join(["torchsid", *args.command])
    render_audit(suspects, args.page, title=title, subtitle=subtitle, sentences=sentences, command=command)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
