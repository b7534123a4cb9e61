"""`torchsid bench`: measure on this machine what one training step costs.

torchsid bench memory --model resnet-18 vgg-11 vit-tiny         kept bytes and process peak of every contender
torchsid bench memory --model mlp --blocks 8 256                kept bytes do not grow with depth
torchsid bench step   --model resnet-18 --stages 4 8 --trace    kept bytes and step time, and the order of events
torchsid bench step                                             the schedules of the paper's shared cascade
torchsid bench pipeline                                         several workers, against pipelines of backpropagation
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import bench_pipeline, bench_tables, console, results
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import ConfigError

if TYPE_CHECKING:
    from torchsid.bench.workload import Workload

SHARED = "shared"
DEPTHS = (4, 8, 16, 64, 256)
MEMORY_MODELS = ("resnet-18", "vgg-11", "vit-tiny")
TRUNK_OPTIONS = ("stages", "blocks", "width", "image_size", "classes", "head", "variant", "device")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("bench", help="measure time and memory of a training step", allow_abbrev=False)
    benches = parser.add_subparsers(metavar="WHAT", required=True)
    memory = benches.add_parser(
        "memory", help="kept bytes and peak of the process, each contender in a fresh one", allow_abbrev=False
    )
    memory.add_argument(
        "--model", nargs="+", default=list(MEMORY_MODELS), metavar="NAME", help=f"classifiers (default: {' '.join(MEMORY_MODELS)})"
    )
    _add_common(memory)
    memory.set_defaults(run=run_memory)

    step = benches.add_parser("step", help="time of a step, all contenders interleaved in one process", allow_abbrev=False)
    step.add_argument(
        "--model",
        nargs="+",
        default=[SHARED],
        metavar="NAME",
        help="classifiers, SID on their stages against backpropagation; or the paper's shared cascade (default: shared)",
    )
    step.add_argument("--depths", type=positive, nargs="+", metavar="L", help="of the shared cascade (default: 4 8 16 64 256)")
    _add_common(step)
    step.add_argument("--rounds", type=positive, default=12, metavar="N", help="rounds (default: %(default)s)")
    step.add_argument("--trace", action="store_true", help="print the order of events within a step")
    step.add_argument("--figure", type=Path, metavar="FILE", help="draw memory against time, as SVG")
    step.set_defaults(run=run_step)
    bench_pipeline.add_parser(benches)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stages", type=positive, nargs="+", metavar="N", help="to cut a classifier into (default: 2 4 8 12)")
    parser.add_argument(
        "--blocks", type=positive, nargs="+", metavar="N", help="of --model mlp, which is then cut into as many stages"
    )
    parser.add_argument("--width", type=positive, metavar="W", help="of a classifier (default: its own)")
    parser.add_argument("--image-size", type=positive, metavar="S", help="pixels a side (default: 32)")
    parser.add_argument("--classes", type=positive, metavar="C", help="(default: 10)")
    parser.add_argument("--head", metavar="KIND", help="of the stages (default: auto)")
    parser.add_argument(
        "--variant",
        nargs="+",
        metavar="V",
        help="float32, bfloat16, channels-last, compiled (default: float32)",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="B", help="images (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=0, metavar="N", help="(default: PyTorch's own choice)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result, with hardware and versions")


def run_memory(args: argparse.Namespace) -> int:
    """Measure the memory of every contender, print one row each, and write the file.

    Raises:
        ConfigError: a setting is wrong; names all problems.
    """
    workloads, notes = _plan(args, [])
    from torchsid.bench.memory import bench_memory

    screen = console.choose()
    result = bench_memory(workloads, threads=args.threads, progress=screen.note)
    _show(screen, bench_tables.MEMORY, result, notes)
    _write(screen, args, {**result, "notes": notes})
    return 0


def run_step(args: argparse.Namespace) -> int:
    """Time the steps, print one row a contender, and write the files.

    Raises:
        ConfigError: a setting is wrong, or a single round, which has no spread; names all problems.
    """
    problems = [] if args.rounds > 1 else [f"--rounds {args.rounds}: quartiles need 2 or more"]
    return _run_shared(args, problems) if SHARED in args.model else _run_trunks(args, problems)


def _run_shared(args: argparse.Namespace, problems: list[str]) -> int:
    if len(args.model) > 1:
        problems.append(f"--model {' '.join(args.model)}: the shared cascade stands alone; run the bench twice")
    given = [f"--{name.replace('_', '-')}" for name in (*TRUNK_OPTIONS, "trace", "figure") if getattr(args, name)]
    if given:
        problems.append(f"{', '.join(given)}: not for the shared cascade; name a classifier, such as --model resnet-18")
    if problems:
        raise ConfigError(problems, source="command")
    from torchsid.bench.schedules import bench_schedules

    screen = console.choose()
    result = bench_schedules(
        args.depths or DEPTHS, rounds=args.rounds, batch_size=args.batch_size, threads=args.threads, progress=screen.note
    )
    _show(screen, bench_tables.SCHEDULES, result, [])
    _write(screen, args, result)
    return 0


def _run_trunks(args: argparse.Namespace, problems: list[str]) -> int:
    if args.depths:
        problems.append("--depths is for the shared cascade; classifiers are cut by --stages")
    workloads, notes = _plan(args, problems)
    from torchsid.bench.steps import bench_steps

    screen = console.choose()
    result = bench_steps(workloads, rounds=args.rounds, threads=args.threads, progress=screen.note)
    _show(screen, bench_tables.STEPS, result, notes)
    if args.trace:
        result["trace"] = [_trace(screen, workload) for workload in workloads]
    _write(screen, args, {**result, "notes": notes})
    if args.figure:
        from torchsid.show.plots.points import Point
        from torchsid.show.plots.tradeoff import Mark, tradeoff
        from torchsid.show.svg import standalone
        from torchsid.training.durable import write_text

        panels: dict[str, list[Mark]] = {}
        for row in result["rows"]:
            kept, step = row["kept_over_backprop"], row["step_over_backprop"]
            if kept is not None and step is not None:
                panels.setdefault(" ".join(filter(None, [row["model"], str(row["blocks"] or ""), row["variant"]])), []).append(
                    Mark(row["contender"], kept, Point(step))
                )
        x, y = "kept bytes / backpropagation", "step time / backpropagation"
        write_text(args.figure, standalone(*(tradeoff(title, marks, x=x, y=y) for title, marks in panels.items())))
        screen.file("figure", args.figure)
    return 0


def _plan(args: argparse.Namespace, problems: list[str]) -> "tuple[list[Workload], list[str]]":
    """Return the workloads and the notes, or raise every problem of the command at once."""
    from torchsid.bench.plan import plan_workloads

    given = {name: value for name in TRUNK_OPTIONS if (value := getattr(args, name)) is not None}
    if "variant" in given:
        given["variants"] = given.pop("variant")
    try:
        planned = plan_workloads(args.model, batch_size=args.batch_size, **given)
    except ConfigError as error:
        problems = [*problems, *error.problems]
    if problems:
        raise ConfigError(problems, source="command")
    return planned


def _show(screen: console.Console, table: bench_tables.Table, result: dict[str, Any], notes: list[str]) -> None:
    """Print the table, then what could not be measured and why."""
    screen.table(table.columns, [table.cells(row) for row in result["rows"]])
    for note in [*notes, *(f"{bench_tables.title(row)}: {row['note']}" for row in result["rows"] if row.get("note"))]:
        print(f"left out: {note}")


def _trace(screen: console.Console, workload: "Workload") -> dict[str, Any]:
    """Print the order of events on one workload, and return it for the file."""
    from dataclasses import asdict

    from torchsid.bench.trace import trace_steps

    events = trace_steps(workload)
    print()
    screen.table(
        (f"{workload.title}, one step of", "event", "after"),
        [(event.contender, event.what, f"{event.milliseconds:.1f} ms") for event in events],
    )
    return {"workload": workload.title, "events": [asdict(event) for event in events]}


def _write(screen: console.Console, args: argparse.Namespace, result: dict[str, Any]) -> None:
    if args.json:
        results.write_json(args.json, {"command": shlex.join(["torchsid", *args.command]), **result})
        screen.file("result", args.json)
