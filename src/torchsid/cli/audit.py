"""`torchsid audit`: rank samples whose labels are probably wrong, by the beliefs of a trained run's stages."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid import training
from torchsid.cli.arguments import SPLITS, about_run, add_shared, cascade_of, load_splits, positive, samples_of, with_data
from torchsid.cli.console import Console, command_of, percent, write_json
from torchsid.cli.streams import emit
from torchsid.errors import ConfigError
from torchsid.show.tables import Table, duration, facts, minus, table

if TYPE_CHECKING:
    from torch import Tensor

    from torchsid.study.audit import Judge, Verdicts
    from torchsid.tasks import Samples

_HEADS = {"belief": "belief in the label", "agrees_from": "agrees from", "seen": "out of sample"}  # of columns of the CSV file
_COLUMNS = ("rank", "name", "split", "row", "label", "suggested", "score", *_HEADS.values(), "true")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--data", "--json", "--table")
    which = "which samples (default: train, judged by the network that was trained on them; with --folds all)"
    parser.add_argument("--split", nargs="+", choices=SPLITS, help=which)
    folds = "train K networks, each without a K-th of all samples, which it then judges; continues where it stopped"
    parser.add_argument("--folds", type=positive, metavar="K", help=folds)
    parser.add_argument("--top", type=positive, default=20, metavar="N", help="samples to show (default: %(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page that shows the samples")


def run(args: argparse.Namespace) -> int:
    """Print the most suspicious labels, how many are disputed and, where the true ones are known, how many were found."""
    import torch

    from torchsid.study.audit import Judge, audit_by, audit_page, beliefs_by, detection, disputes, rankings
    from torchsid.study.figures import card
    from torchsid.study.files import write_page, write_table
    from torchsid.study.folds import joined
    from torchsid.study.runs import load_run

    if args.folds and args.split:
        raise ConfigError(["--folds judges all samples: leave --split out"], source="command")
    screen, network = Console(), training.load_network(args.directory, args.weights)
    if "bins" in network.about:
        problem = f"{args.directory} answers with a number: which training numbers are wrong, no belief in a class can tell"
        raise ConfigError([problem], source="command")
    wanted = args.split or (() if args.folds else ["train"])
    parts = samples_of(load_splits(network, args), args, screen, wanted)
    samples, last_alone = joined(list(parts.values())), not network.learner.trains_stages
    jury = [Judge(network.learner, network.prepare, torch.arange(len(samples)))]
    if args.folds:
        try:
            jury = _jury_of_folds(args, network, screen, parts, samples)
        except training.Interrupted as stop:
            emit(f"torchsid: interrupted; everything so far is saved. Go on with:\n  {command_of(args)}", error=True)
            return 128 + stop.signal
    verdicts = audit_by(jury, samples, last_alone=last_alone)
    # Without noise that was added on purpose, the labels are all there is: nobody knows which of them are wrong.
    noise = network.about.get("noise") or {"kind": "none"}
    clean = None if noise["kind"] == "none" else samples.clean_target
    order = verdicts.score.argsort(stable=True).tolist()
    columns = _columns(samples, parts, verdicts, clean, folds=args.folds)
    ranked = {name: [column[place] for place in order] for name, column in columns.items()}
    found: dict[str, Any] = {"labels": disputes(verdicts, samples.target[:], clean)}
    if clean is not None and 0 < found["labels"]["wrong"] < len(samples):
        found["rankings"] = detection(rankings(verdicts, samples.target[:]), samples.target[:] != clean)

    names, stages = network.class_names, 1 if last_alone else cascade_of(network, args.directory).depth
    told = ranked | {kind: [names[index] for index in ranked[kind]] for kind in ("label", "suggested", "true") if kind in ranked}
    told["agrees_from"] = [str(stage) if stage <= stages else "never" for stage in ranked["agrees_from"]]
    kind = "training sample" if list(parts) == ["train"] else "sample"
    shown = _first({name: values[: args.top] for name, values in told.items()}, kind)
    who = "the last stage alone, the others were not trained to answer" if last_alone else f"all {stages} stages"
    tables = list(_findings(found, {"judged by": who, "samples that the judge has seen": _seen(columns)}, len(samples)))
    screen.rows(shown)
    screen.show(*tables)
    about = about_run(args) | {"n": len(samples), "folds": args.folds, "noise": noise}
    write_json(screen, args, "audit", about | found | {"ranked": ranked})
    if args.table:
        write_table(args.table, _rows(told), _COLUMNS)
        screen.file("ranking", args.table)
    if args.page:
        log_beliefs = beliefs_by(jury, samples, order[: args.top], last_alone=last_alone)
        cards = []
        for place, row in enumerate(shown):
            called = row[next(iter(row))] if samples.names else f"row {row['row']}"
            lines = [called, f"score {minus(row['score'])}", f"agrees: {row['agrees from']}"]
            lines += [f"true: {row['true']}"] if "true" in row else []
            title = " → ".join(dict.fromkeys((row["label"], row["suggested"])))
            image = network.task.show(samples.inputs[order[place]], network.about)
            cards.append(card(image, log_beliefs[:, place], names, ranked["label"][place], title, lines))
        weights = "last" if args.folds else args.weights
        page = audit_page(
            cards,
            tables,
            title=f"{load_run(args.directory).data_name}: labels to look at",
            subtitle=f"Run {args.directory.name} · {weights} weights · seed {network.config.training.seed}",
            command=command_of(args),
        )
        write_page(args.page, page)
        screen.file("page", args.page)
    return 0


def _jury_of_folds(
    args: argparse.Namespace,
    network: "training.LoadedNetwork",
    screen: Console,
    parts: "Mapping[str, Samples]",
    samples: "Samples",
) -> "list[Judge]":
    """Train a network without each fold, where that has not been done, and return them with the samples that each may judge.

    What it costs is said before: the time of the run, for as many samples as each training has.
    """
    from torchsid.study.audit import Judge
    from torchsid.study.folds import finished, fold_of, train_folds

    config, took = with_data(network.config, args), training.open_run(args.directory).manifest().get("train_seconds") or 0.0
    folds, out = fold_of(samples, args.folds, config.training.seed), args.directory / f"audit-{args.folds}-folds"
    missing = sum(not finished(out / f"fold-{fold + 1}") for fold in range(args.folds))
    each = took * len(samples) * (1 - 1 / args.folds) / max(len(parts.get("train", samples)), 1)
    about = f"about {duration(missing * each)} as the run itself took {duration(took)}"
    screen.note(f"{missing} of {args.folds} trainings to do, {about}")
    with closing(screen):
        runs = train_folds(config, folds, out, reporter=screen, say=screen.note, command=command_of(args))
    loaded = {fold: training.load_network(run, "last") for fold, run in runs.items()}
    return [Judge(own.learner, own.prepare, (folds == fold).nonzero().flatten()) for fold, own in loaded.items()]


def _columns(
    samples: "Samples", parts: "Mapping[str, Samples]", verdicts: "Verdicts", clean: "Tensor | None", *, folds: int | None
) -> dict[str, list[Any]]:
    """Return what is known of each sample, in their order: where it is, and what the judges say."""
    image = [place for part in parts.values() for place in range(len(part))]
    split = [name for name, part in parts.items() for _ in range(len(part))]
    columns: dict[str, list[Any]] = {"name": list(samples.names)} if samples.names else {}
    columns |= {"image": image, "split": split, "row": image if samples.rows is None else samples.rows.tolist()}
    columns |= {"label": samples.target[:].tolist(), "suggested": verdicts.suggested.tolist(), "score": verdicts.score.tolist()}
    columns["belief"] = verdicts.log_belief.exp().gather(-1, samples.target[:].unsqueeze(-1)).squeeze(-1).tolist()
    columns |= {"agrees_from": verdicts.agrees_from.tolist(), "seen": [not folds and name == "train" for name in split]}
    return columns | ({} if clean is None else {"true": clean.tolist()})


def _first(told: Mapping[str, Sequence[Any]], first: str) -> list[dict[str, str]]:
    """Return these rows of the ranking as they are read; `first` is the head of the first column."""
    where = {first: [str(place) for place in told["image"]], "row": [str(row) for row in told["row"]]}
    columns = {first: told["name"]} if "name" in told else where
    columns |= {name: told[name] for name in ("label", "suggested")} | {"score": [f"{score:+.3f}" for score in told["score"]]}
    columns["agrees from"] = [stage if stage == "never" else f"stage {stage}" for stage in told["agrees_from"]]
    columns |= {"true": told["true"]} if "true" in told else {}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows(told: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield a row of the CSV file for every sample, the most suspicious first."""
    columns = {_HEADS.get(name, name): values for name, values in told.items() if name != "image"}
    columns |= {"rank": range(1, 1 + len(told["row"])), _HEADS["seen"]: ["no" if seen else "yes" for seen in told["seen"]]}
    yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _seen(columns: Mapping[str, Sequence[Any]]) -> str:
    """Say how many verdicts are about samples that the judge was trained on."""
    seen, count = sum(columns["seen"]), len(columns["seen"])
    if not seen:
        return "none: all verdicts are out of sample"
    return f"{'all' if seen == count else f'{seen:,}'}: trained on with these very labels; --folds 5 would judge all out of sample"


def _findings(found: Mapping[str, Any], about: Mapping[str, str], count: int) -> Iterator[Table]:
    """Yield what was found in all samples and, where the true labels are known, how well each ranking does."""
    from torchsid.study.statistics import proportion_interval

    def with_interval(some: int, of: int) -> str:
        share = proportion_interval(some, of)
        return f"{percent(share.mean, 1)} ({percent(share.low, 1)} to {percent(share.high, 1)})"

    labels, wrong = found["labels"], found["labels"].get("wrong")
    rows = {**about, "labels": f"{count:,}", "disputed": f"{labels['disputed']:,}"}
    if wrong:
        disputed, caught = labels["disputed"], labels["disputed"] and round(labels["precision"] * labels["disputed"])
        rows |= {
            "wrong labels": f"{wrong:,}",
            "of the disputed, wrong": with_interval(caught, disputed) if disputed else percent(None),
            "of the wrong, disputed": with_interval(caught, wrong),
            "of the wrong that are disputed, the true class is suggested for": percent(labels["corrected"], 1),
        }
    else:
        rows["disputed"] += f", {with_interval(labels['disputed'], count)}; how many are wrong is known when somebody has looked"
    yield facts(["The labels", ""], rows.items(), "In brackets 95 % intervals")
    if rankings := found.get("rankings"):
        ranked = [
            [name, f"{row['auroc']:.4f}", percent(row["precision_at_k"], 1), percent(row["recall_at_2k"], 1)]
            for name, row in rankings.items()
        ]
        yield table(["ranked by", "AUROC", f"precision at {wrong:,}", f"recall at {2 * wrong:,}"], ranked)
