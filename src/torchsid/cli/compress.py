"""`torchsid compress`: quantise the weights of a trained run stage by stage, without labels, and measure what that costs.

torchsid compress RUN                                   8, 4 and 3 bits, by rounding and by COMQ
torchsid compress RUN --bits 4 --method comq-refit      each stage fitted to the outputs of the quantised ones before it
torchsid compress RUN --figure smaller.svg              also for fewer stages, and for early exit
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from torchsid import training
from torchsid.cli.arguments import about_run, add_shared, load_splits, positive, samples_of
from torchsid.cli.console import Console, draw, percent, stage_name, write_json
from torchsid.cli.streams import emit
from torchsid.errors import ConfigError, DataError, RunError
from torchsid.planner.devices import Bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_shared(parser, "directory", "--weights", "--data", "--json")
    add, shown = parser.add_argument, " (default: %(default)s)"
    add("--bits", nargs="+", type=int, default=[8, 4, 3], metavar="B", help="bits of a weight, 2 to 8 (default: 8 4 3)")
    methods = "nearest, comq, nearest-refit or comq-refit (default: nearest comq)"
    add("--method", nargs="+", default=["nearest", "comq"], metavar="NAME", help=methods)
    add("--samples", type=positive, default=512, metavar="N", help="training samples to calibrate on" + shown)
    add("--passes", type=positive, default=10, metavar="N", help="passes of a re-fit over them" + shown)
    rate = partial(positive, kind=float)
    add("--learning-rate", type=rate, default=1e-4, metavar="RATE", help="learning rate of a re-fit" + shown)
    add("--out", type=Path, metavar="DIR", help="directory of the smaller networks (default: RUN/compressed)")
    add("--figure", type=Path, metavar="FILE", help="draw accuracy over size and over operations, as SVG")


def run(args: argparse.Namespace) -> int:
    """Quantise, measure on the test samples, write the networks, and print."""
    from torchsid.compress.stages import Refit, compress, problems, read_by
    from torchsid.study import compression

    screen, whole, out = Console(), training.open_run(args.directory), args.out or args.directory / "compressed"
    if whole.manifest().get("status") != "finished":
        raise RunError(f"{args.directory} has not finished: go on with it by `torchsid train --resume` first")
    network = training.load_network(whole, args.weights)
    if wrong := problems(network.learner.module, args.bits, args.method):
        raise ConfigError(wrong, source="command")
    compression.check_place(out)
    parts = samples_of(load_splits(network, args), args, screen)
    if missing := [name for name in ("train", "test") if name not in parts]:
        raise DataError(f"{args.directory} has no {' and no '.join(missing)} samples")
    test, batches = parts["test"], compression.calibration(network, parts["train"], args.samples)
    rows = [compression.row(network, test, {})]
    read = read_by(network.learner.module, batches) if "comq" in args.method else None
    refit, smaller = Refit(passes=args.passes, learning_rate=args.learning_rate), []
    for method, bits in product(dict.fromkeys(args.method), dict.fromkeys(args.bits)):
        screen.note(f"{method}, {bits} bits")
        small = training.load_network(whole, args.weights)
        codes = compress(small.learner.module, batches, bits, method, read=read, refit=refit)
        rows.append(compression.row(small, test, codes, method=method, bits=bits, full=rows[0]))
        smaller.append((small, codes, rows[-1]))
    ends, exits = compression.ended_early(network, rows[0]["accuracy"], parts)
    count = len(rows[0]["answers"])  # positions
    found = about_run(args) | {"n": count, "networks": compression.without_answers(rows), "ends": ends, "exits": exits}
    compression.write(out, whole, smaller, found)
    _print(screen, count, rows, ends)
    screen.file("networks", out)
    write_json(screen, args, "measured", found, measured_on="cpu")
    if args.figure:
        draw(screen, args.figure, *compression.drawings(rows, ends, exits))
    return 0


def _print(screen: Console, n: int, rows: Sequence[Mapping[str, Any]], ends: Sequence[Mapping[str, Any]]) -> None:
    """Print what each network answers, and what the first stages of the whole one do."""
    stages = [stage_name(stage) for stage in range(1, len(rows[0]["accuracy"]) + 1)]
    cells = [(row["name"], str(Bytes(row["bytes"])), *map(percent, [*row["accuracy"], row["agreement"]])) for row in rows]
    screen.table([f"test, n = {n:,}", "size", *stages, "answers as before"], cells)
    emit()
    costs = [{"size": Bytes(end["bytes"]), "multiply-adds": percent(end["operations"])} for end in ends]
    screen.rows(
        [
            {"ends after": stage_name(end["stages"]), **cost, "accuracy": percent(end["accuracy"])}
            for end, cost in zip(ends, costs, strict=True)
        ]
    )
