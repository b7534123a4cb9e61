"""`torchsid audit`: rank training samples whose labels are probably wrong, as the stages of a trained run see them."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid import training
from torchsid.cli.arguments import add_json, add_run, load_samples, positive
from torchsid.cli.console import Console, command_of, percent, write_json
from torchsid.show.tables import Table, minus, table

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_run(parser)
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="samples to show (default: %(default)s)")
    add_json(parser, "the verdict on every training sample")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page that shows the samples")


def run(args: argparse.Namespace) -> int:
    """Print the most suspicious labels, how many are disputed and, where the true ones are known, how many were found."""
    import torch

    from torchsid.study.audit import audit, audit_page, beliefs_that_judge, detection, disputes, rankings
    from torchsid.study.figures import card
    from torchsid.study.files import write_page

    screen, network = Console(), training.load_network(args.directory, args.weights)
    samples = load_samples(network, args, screen, ["train"])["train"]
    last_alone = not network.learner.trains_stages
    verdicts = audit(network.learner, samples, prepare=network.prepare, last_alone=last_alone)
    # Without noise that was added on purpose, the labels are all there is: nobody knows which of them are wrong.
    noise = network.about.get("noise") or {"kind": "none"}
    clean = None if noise["kind"] == "none" else samples.clean_target
    columns: dict[str, Tensor] = {
        "image": torch.arange(len(samples)),
        "row": torch.arange(len(samples)) if samples.rows is None else samples.rows,
        "label": samples.target,
        "suggested": verdicts.suggested,
        "score": verdicts.score,
        "agrees_from": verdicts.agrees_from,
        **({} if clean is None else {"true": clean}),
    }
    order = verdicts.score.argsort(stable=True)
    ranked = {name: column[order].tolist() for name, column in columns.items()}
    found: dict[str, Any] = {"labels": disputes(verdicts, samples.target, clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(samples):
        found["rankings"] = detection(rankings(verdicts, samples.target), samples.target != clean)

    names, stages = network.class_names, 1 if last_alone else network.config.model.depth
    shown = [dict(zip(ranked, row, strict=True)) for row in list(zip(*ranked.values(), strict=True))[: args.top]]
    for row in shown:
        row["agrees_from"] = f"stage {row['agrees_from']}" if row["agrees_from"] <= stages else "never"
    tables = [_summary(found["labels"], len(samples), None if last_alone else stages), *_detection(found)]
    screen.show(_ranking(shown, names))
    for each in tables:
        print()
        screen.show(each)
    about = {"run": str(args.directory), "weights": args.weights, "n": len(samples), "noise": dict(noise)}
    write_json(screen, args, "audit", about | found | {"ranked": ranked})
    if args.page:
        inputs = samples.inputs[ranked["image"][: args.top]]
        log_beliefs = beliefs_that_judge(network.learner, inputs, prepare=network.prepare, last_alone=last_alone)
        cards = []
        for place, row in enumerate(shown):
            score = minus(f"{row['score']:.3f}")
            lines = [f"row {row['row']}", f"score {score}", f"agrees: {row['agrees_from']}"]
            lines += [f"true: {names[row['true']]}"] if "true" in row else []
            image = network.task.show(inputs[place])
            title = " → ".join(dict.fromkeys((names[row["label"]], names[row["suggested"]])))
            cards.append(card(image, log_beliefs[:, place], names, row["label"], title, lines))
        page = audit_page(
            cards,
            tables,
            title=f"{network.about.get('name', network.config.task)}: labels to look at",
            subtitle=f"Run {args.directory.name} · {args.weights} weights · seed {network.config.training.seed}",
            command=command_of(args),
        )
        write_page(args.page, page)
        screen.file("page", args.page)
    return 0


def _ranking(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Table:
    """Return the first rows of the ranking."""
    columns = ["training sample", "row", "label", "suggested", "score", "agrees from", *(["true"] if "true" in rows[0] else [])]
    classes = ("label", "suggested", "true")
    shown = [row | {"score": f"{row['score']:+.3f}"} | {key: names[row[key]] for key in classes if key in row} for row in rows]
    return table(columns, [map(str, row.values()) for row in shown])


def _summary(labels: Mapping[str, Any], count: int, stages: int | None) -> Table:
    """Return what was found in all samples."""
    judges = f"all {stages} stages" if stages else "the last stage alone, the others were not trained to answer"
    rows = [["judged by", judges], ["labels", f"{count:,}"], ["disputed", f"{labels['disputed']:,}"]]
    if labels.get("wrong"):
        rows += [
            ["wrong labels", f"{labels['wrong']:,}"],
            ["of the disputed, wrong", percent(labels["precision"], 1)],
            ["of the wrong, disputed", percent(labels["recall"], 1)],
            ["of the wrong that are disputed, the true class is suggested for", percent(labels["corrected"], 1)],
        ]
    return table(["labels of", "the training samples"], rows)


def _detection(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield how well each ranking does, where the true labels are known."""
    if "rankings" in found:
        wrong = found["labels"]["wrong"]
        rows = [
            [name, f"{row['auroc']:.4f}", percent(row["precision_at_k"], 1), percent(row["recall_at_2k"], 1)]
            for name, row in found["rankings"].items()
        ]
        yield table(["ranked by", "AUROC", f"precision at {wrong:,}", f"recall at {2 * wrong:,}"], rows)
