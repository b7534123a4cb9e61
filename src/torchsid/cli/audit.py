"""`torchsid audit`: which labels of the training samples are probably wrong, as the stages of a trained run see them."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results, trained
from torchsid.cli.arguments import Subparsers, positive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchsid.show.tables import Table
    from torchsid.tasks import Samples
    from torchsid.training import LoadedNetwork


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = trained.add_parser_of_a_run(subparsers, "audit", "rank training samples whose labels are probably wrong")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="samples to show (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdict on every training sample")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page that shows the samples")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the most suspicious labels, how many are disputed and, where the true ones are known, how many were found."""
    import torch

    from torchsid import training
    from torchsid.study.audit import audit, detection, disputes, rankings

    screen = console.choose()
    network = training.load_network(args.directory, args.weights)
    splits = trained.load_data(network, args)
    samples = trained.samples(splits, "train", args.directory, screen)
    every_stage = network.learner.trains_stages
    verdicts = audit(network.learner, samples, prepare=network.prepare, last_alone=not every_stage)
    # Without noise that was added on purpose, the labels are all there is: nobody knows which of them are wrong.
    noise = splits.about.get("noise") or {"kind": "none"}
    clean = None if noise["kind"] == "none" else samples.clean_target
    order = verdicts.score.argsort(stable=True)
    columns: dict[str, Tensor] = {
        "row": torch.arange(len(samples)) if samples.rows is None else samples.rows,
        "label": samples.target,
        "suggested": verdicts.suggested,
        "score": verdicts.score,
        "agrees_from": verdicts.agrees_from,
        **({} if clean is None else {"true": clean}),
    }
    ranked = {"image": order.tolist(), **{name: column[order].tolist() for name, column in columns.items()}}
    found: dict[str, Any] = {"labels": disputes(verdicts, samples.target, clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(samples):
        found["rankings"] = detection(rankings(verdicts, samples.target), samples.target != clean)

    stages = network.config.model.depth if every_stage else 1
    tables = _tables(found, len(samples), stages=stages, every_stage=every_stage)
    results.print_table(screen, _ranking(ranked, network.class_names, args.top, stages))
    for table in tables:
        print()
        results.print_table(screen, table)
    if args.json:
        about = {"run": str(args.directory), "weights": args.weights, "n": len(samples), "noise": dict(noise)}
        results.write_json(args.json, about | found | {"ranked": ranked})
        screen.file("audit", args.json)
    if args.page:
        _write_page(args, network, samples, ranked, tables, stages=stages, every_stage=every_stage)
        screen.file("page", args.page)
    return 0


def _ranking(ranked: "Mapping[str, Sequence[Any]]", names: "Sequence[str]", count: int, stages: int) -> "Table":
    """Return the first rows of the ranking."""
    from torchsid.show.tables import table

    columns = ["training sample", "row", "label", "suggested", "score", "agrees from", *(["true"] if "true" in ranked else [])]
    rows = [
        [str(sample), str(row), names[label], names[suggested], f"{score:+.3f}", _agrees(agrees, stages), *(names[k] for k in true)]
        for sample, row, label, suggested, score, agrees, *true in list(zip(*ranked.values(), strict=True))[:count]
    ]
    return table(columns, rows)


def _tables(found: dict[str, Any], count: int, *, stages: int, every_stage: bool) -> "list[Table]":
    """Return what was found in all samples, and how well each ranking does where the true labels are known."""
    from torchsid.show.tables import table

    labels = found["labels"]
    judges = f"all {stages} stages" if every_stage else "the last stage alone, the others were not trained to answer"
    rows = [["judged by", judges], ["labels", f"{count:,}"], ["disputed", f"{labels['disputed']:,}"]]
    if labels.get("wrong"):
        rows += [
            ["wrong labels", f"{labels['wrong']:,}"],
            ["of the disputed, wrong", _percent(labels["precision"])],
            ["of the wrong, disputed", _percent(labels["recall"])],
            ["of the wrong that are disputed, the true class is suggested for", _percent(labels["corrected"])],
        ]
    tables = [table(["labels of", "the training samples"], rows)]
    if "rankings" in found:
        wrong = labels["wrong"]
        columns = ["ranked by", "AUROC", f"precision at {wrong:,}", f"recall at {2 * wrong:,}"]
        scores = found["rankings"].items()
        rows = [
            [name, f"{row['auroc']:.4f}", *(_percent(row[key]) for key in ("precision_at_k", "recall_at_2k"))]
            for name, row in scores
        ]
        tables.append(table(columns, rows))
    return tables


def _write_page(
    args: argparse.Namespace,
    network: "LoadedNetwork",
    samples: "Samples",
    ranked: "Mapping[str, Sequence[Any]]",
    tables: "Sequence[Table]",
    *,
    stages: int,
    every_stage: bool,
) -> None:
    from torchsid.show.text import minus
    from torchsid.study.audit import audit_page, beliefs_that_judge, suspect
    from torchsid.study.files import write_page

    places, names = ranked["image"][: args.top], network.class_names
    inputs = samples.inputs[places]
    log_beliefs = beliefs_that_judge(network.learner, inputs, prepare=network.prepare, last_alone=not every_stage)
    cards = []
    for k in range(len(places)):
        row, label, suggested, score, agrees = (ranked[name][k] for name in ("row", "label", "suggested", "score", "agrees_from"))
        lines = [f"row {row}", f"score {minus(f'{score:.3f}')}", f"agrees: {_agrees(agrees, stages)}"]
        lines += [f"true: {names[ranked['true'][k]]}"] if "true" in ranked else []
        cards.append(suspect(network.task.show(inputs[k]), log_beliefs[:, k], names, label, suggested, lines))
    page = audit_page(
        cards,
        tables,
        title=f"{network.about.get('name', network.config.task)}: labels to look at",
        subtitle=f"Run {args.directory.name} · {args.weights} weights · seed {network.config.training.seed}",
        command=shlex.join(["torchsid", *args.command]),
    )
    write_page(args.page, page)


def _agrees(stage: int, stages: int) -> str:
    return f"stage {stage}" if stage <= stages else "never"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
