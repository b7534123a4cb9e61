"""`torchsid evaluate`: measure a trained run on its data, stage by stage, and with early exit."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torchsid import training
from torchsid.cli.arguments import about_run, add_shared, cascade_of, load_splits, samples_of
from torchsid.cli.console import MISSING, Console, percent, stage_name, write_json
from torchsid.cli.streams import emit
from torchsid.errors import ConfigError

MEASURES = ("confidence", "entropy")
_TITLES = {"accuracy": "accuracy", "kl": "KL", "ece": "ECE", "agreement": "answers as the last"}
_OF_NUMBERS = {"mae": "MAE", "rmse": "RMSE", "r2": "R²", "coverage": "", "kl": "KL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--data", "--set", "--exit-when", "--json")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which samples (default: %(default)s)")
    curve = "accuracy on test samples against the average exit, with thresholds chosen on validation samples"
    parser.add_argument("--exit-curve", nargs="?", choices=MEASURES, const=MEASURES[0], help=curve)


def run(args: argparse.Namespace) -> int:
    """Measure accuracy, divergence and calibration after every stage, and early exit where it is asked for."""
    from torchsid.anytime import EarlyExit
    from torchsid.study.early_exit import exit_curve, measure_exits, operations
    from torchsid.tasks.numbers import Numbers
    from torchsid.training.evaluation import evaluate, predict

    if args.exit_curve and args.split != "test":
        problem = f"--split {args.split}: --exit-curve chooses on validation images and measures on test images, leave --split out"
        raise ConfigError([problem], source="command")
    screen, network = Console(), training.load_network(args.directory, args.weights)
    if args.exit_curve and network.task.positions != ():
        problem = f"--exit-curve: {args.directory} answers at many positions of a sample; measure one rule, with --exit-when"
        raise ConfigError([problem], source="command")
    if args.exit_curve and "bins" in network.about:
        problem = f"--exit-curve: {args.directory} answers with a number; measure one rule, with --exit-when"
        raise ConfigError([problem], source="command")
    cascade = cascade_of(network, args.directory) if args.exit_when or args.exit_curve else None
    exit_early = EarlyExit(cascade, args.exit_when) if cascade and args.exit_when else None
    splits = load_splits(network, args)
    found = samples_of(splits, args, screen, [args.split, *(["validation"] if args.exit_curve else [])])
    samples = found[args.split]
    numbers = Numbers.of(network.about)
    measured = evaluate(network.learner, samples, prepare=network.prepare, numbers=numbers)
    given = network.task.scores(measured["kl"], args.split, network.about)
    measured["scores"] = scores = {**measured.get("scores", {}), **given, **splits.scores.get(args.split, {})}
    titles = {**_OF_NUMBERS, "coverage": f"within {numbers.level:.0%}"} if numbers else _TITLES
    shown = {titles.get(name, name): values for name, values in {**measured, **scores}.items() if name in (*titles, *scores)}
    rows = [(stage_name(stage), *map(_text, shown, values)) for stage, values in enumerate(zip(*shown.values(), strict=True))]
    if floor := network.task.floor(splits):
        measured["floor"] = asdict(floor)
        own = floor.scores.get(args.split, {})
        others = network.task.scores([own["kl"]], args.split, network.about) if "kl" in own else {}
        known = {titles.get(name, name): each for name, each in own.items()} | {name: each for name, (each,) in others.items()}
        rows.append((floor.name, *(_text(title, known.get(title)) for title in shown)))
    screen.table([f"{args.split}, n = {measured['n']:,}", *shown], rows)
    if groups := measured.get("groups"):
        names = dict(enumerate(network.about.get("groups") or ()))
        shares = [(str(names.get(int(number), number)), percent(each)) for number, each in groups.items()]
        screen.table(["group", "accuracy"], shares)
    emit()
    if floor:
        reached = {name: values[-1] for name, values in {**measured, **scores}.items() if name in (*titles, *scores)}
        emit("\n".join([f"{floor.name}: {floor.about}", *floor.missed(args.split, reached), ""]))
    if exit_early:
        measured["early_exit"] = measure_exits(exit_early, samples, prepare=network.prepare, numbers=numbers)
        _print_exits(screen, measured["early_exit"])
    if cascade and args.exit_curve:
        parts = (found["validation"], samples)
        chosen, answered = ((predict(network.learner, part.inputs, prepare=network.prepare), part.target[:]) for part in parts)
        cost = operations(cascade, network.prepare(samples.inputs[:2]))
        measured["exit_curve"] = exit_curve(chosen, answered, args.exit_curve, cost)
        _print_curve(screen, measured["exit_curve"])
    write_json(screen, args, "evaluation", about_run(args) | {"split": args.split} | measured)
    return 0


def _text(title: str, value: float | None) -> str:
    """Return a number under its title: shares of samples in per cent."""
    if value is None:
        return MISSING
    return percent(value) if title.startswith(("accuracy", "answers", "within")) else f"{value:.4f}"


def print_cost(screen: Console, found: Mapping[str, Any], stages: int) -> None:
    """Print what early exit spared, in the words of `measure_exits`, and why no more where batches cannot be divided."""
    titles = {**_TITLES, "mae": _OF_NUMBERS["mae"]}
    right = {title: _text(title, found[name]) for name, title in titles.items() if name in found}
    depth, operations = f"stage {found['average_depth']:.2f} of {stages}", percent(found["operations"])
    screen.rows([right | {"average exit": depth, "multiply-adds": operations}])
    if found["whole_batches"]:
        emit(f"sure images wait for the rest of their batch, which cannot be divided: {found['whole_batches']}")


def _print_exits(screen: Console, found: dict[str, Any]) -> None:
    """Print what `measure_exits` found: where images left, how right they were, and what it cost."""
    judged, title = ("mae", "MAE") if "mae" in found else ("accuracy", "accuracy")
    rows = [(stage_name(row["stage"]), percent(row["share"]), _text(title, row[judged])) for row in found["exits"]]
    screen.table([f"exit when {found['rule']}", "share", title], rows)
    emit()
    print_cost(screen, found, len(rows))


def _print_curve(screen: Console, curve: dict[str, Any]) -> None:
    """Print the points of `exit_curve`: what the validation images chose, and what the test images say."""
    measure = f"{curve['measure']} {'>' if curve['measure'] == 'confidence' else '<'}"
    validation, test = (f"{split}, n = {curve[f'{split}_n']:,}" for split in ("validation", "test"))
    rows = []
    for point in curve["points"]:
        chosen, on_test = point["validation"], point["test"]
        accuracies = (percent(chosen["accuracy"]), percent(on_test["accuracy"]))
        costs = (f"{on_test['average_depth']:.2f}", percent(on_test["operations"]))
        rows.append((f"{100 * point['loss']:.1f} points", f"{point['threshold']:.6g}", *accuracies, *costs))
    screen.table(["loss allowed", measure, validation, test, "average exit", "multiply-adds"], rows)
    emit()
