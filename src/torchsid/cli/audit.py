"""`torchsid audit`: rank training samples whose labels are probably wrong, as the stages of a trained run see them."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchsid import training
from torchsid.cli.arguments import about_run, add_shared, load_samples, positive
from torchsid.cli.console import Console, command_of, percent, write_json
from torchsid.show.tables import Table, minus, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--data", "--json")
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="samples to show (default: %(default)s)")
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
    image = torch.arange(len(samples))
    columns = {"image": image, "row": image if samples.rows is None else samples.rows, "label": samples.target}
    columns |= {"suggested": verdicts.suggested, "score": verdicts.score, "agrees_from": verdicts.agrees_from}
    columns |= {} if clean is None else {"true": clean}
    order = verdicts.score.argsort(stable=True)
    ranked = {name: column[order].tolist() for name, column in columns.items()}
    found: dict[str, Any] = {"labels": disputes(verdicts, samples.target, clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(samples):
        found["rankings"] = detection(rankings(verdicts, samples.target), samples.target != clean)

    names, stages = network.class_names, 1 if last_alone else network.config.model.depth
    shown = _first({name: values[: args.top] for name, values in ranked.items()}, names, stages)
    judges = "the last stage alone, the others were not trained to answer" if last_alone else f"all {stages} stages"
    tables = list(_findings(found, judges, len(samples)))
    screen.rows(shown)
    screen.show(*tables)
    write_json(screen, args, "audit", about_run(args) | {"n": len(samples), "noise": noise} | found | {"ranked": ranked})
    if args.page:
        inputs = samples.inputs[ranked["image"][: args.top]]
        log_beliefs = beliefs_that_judge(network.learner, inputs, prepare=network.prepare, last_alone=last_alone)
        cards = []
        for place, row in enumerate(shown):
            lines = [f"row {row['row']}", f"score {minus(row['score'])}", f"agrees: {row['agrees from']}"]
            lines += [f"true: {row['true']}"] if "true" in row else []
            title = " → ".join(dict.fromkeys((row["label"], row["suggested"])))
            image_shown = network.task.show(inputs[place])
            cards.append(card(image_shown, log_beliefs[:, place], names, ranked["label"][place], title, lines))
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


def _first(ranked: Mapping[str, Sequence[Any]], names: Sequence[str], stages: int) -> list[dict[str, str]]:
    """Return these rows of the ranking as they are read."""
    classes = {kind: [names[index] for index in ranked[kind]] for kind in ("label", "suggested", "true") if kind in ranked}
    true = {"true": classes.pop("true")} if "true" in classes else {}
    agrees = [f"stage {stage}" if stage <= stages else "never" for stage in ranked["agrees_from"]]
    samples = {"training sample": map(str, ranked["image"]), "row": map(str, ranked["row"])}
    columns = {**samples, **classes, "score": [f"{score:+.3f}" for score in ranked["score"]], "agrees from": agrees, **true}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _findings(found: Mapping[str, Any], judges: str, count: int) -> Iterator[Table]:
    """Yield what was found in all samples and, where the true labels are known, how well each ranking does."""
    labels, wrong = found["labels"], found["labels"].get("wrong")
    rows = {"judged by": judges, "labels": f"{count:,}", "disputed": f"{labels['disputed']:,}"}
    if wrong:
        rows |= {
            "wrong labels": f"{wrong:,}",
            "of the disputed, wrong": percent(labels["precision"], 1),
            "of the wrong, disputed": percent(labels["recall"], 1),
            "of the wrong that are disputed, the true class is suggested for": percent(labels["corrected"], 1),
        }
    yield table(["labels of", "the training samples"], rows.items())
    if rankings := found.get("rankings"):
        ranked = [
            [name, f"{row['auroc']:.4f}", percent(row["precision_at_k"], 1), percent(row["recall_at_2k"], 1)]
            for name, row in rankings.items()
        ]
        yield table(["ranked by", "AUROC", f"precision at {wrong:,}", f"recall at {2 * wrong:,}"], ranked)
