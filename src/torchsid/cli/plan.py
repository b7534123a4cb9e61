"""`torchsid plan`: what a training on machines that are not there would take, SID and backpropagation side by side.

torchsid plan --model vit-large --devices 16xH100 --link 50GB/s          where to cut, memory, traffic, step time
torchsid plan --model vit-giant --stages 16 --devices 64xA100            four replicas of a pipeline of 16
torchsid plan --model vit-large --devices 16xH100 --sweep devices        how it scales, and what ends it
torchsid plan --model resnet-18 --image-size 32 --devices 2xmeasured --measure --precision float32 --optimizer momentum
"""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, plan_tables, results
from torchsid.cli.arguments import Subparsers, positive
from torchsid.errors import ConfigError

if TYPE_CHECKING:
    from torchsid.planner.forecast import Forecast
    from torchsid.planner.request import Planned
    from torchsid.planner.sweep import Sweep

AXES = ("devices", "depth", "width", "batch")


def add_parser(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the command."""
    parser = subparsers.add_parser("plan", help="plan a training on many devices, without them", allow_abbrev=False)
    parser.add_argument("--model", required=True, metavar="NAME", help="a classifier, or vit-small … vit-giant, mlp-64, mlp-256")
    parser.add_argument("--width", type=positive, metavar="W", help="of the model (default: its own)")
    parser.add_argument("--depth", type=positive, metavar="N", help="blocks of a vit or an mlp (default: its own)")
    parser.add_argument("--image-size", type=positive, default=224, metavar="S", help="pixels a side (default: %(default)s)")
    parser.add_argument("--classes", type=positive, default=1000, metavar="C", help="(default: %(default)s)")
    parser.add_argument(
        "--devices",
        default="1xH100",
        metavar="NxNAME",
        help="16xH100, 2xmeasured, or 4xflops=50T,memory=12GiB,bandwidth=300GB/s (default: %(default)s)",
    )
    parser.add_argument("--stages", type=positive, metavar="N", help="to cut the model into (default: one a device)")
    parser.add_argument("--data", type=positive, metavar="D", help="replicas of the pipeline (default: devices over stages)")
    parser.add_argument(
        "--link", default="50GB/s", metavar="RATE", help="of a device, each way: 50GB/s, 100Mbit/s (default: %(default)s)"
    )
    parser.add_argument("--latency", default="10us", metavar="TIME", help="of the link: 10us, 100ms (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=positive, default=256, metavar="B", help="images, over all replicas (default: %(default)s)"
    )
    parser.add_argument("--micro-batches", type=positive, metavar="M", help="of 1F1B and ZB-H1 (default: four a device)")
    parser.add_argument("--optimizer", default="adamw", metavar="NAME", help="sgd, momentum or adamw (default: %(default)s)")
    parser.add_argument("--precision", default="bfloat16", metavar="NAME", help="float32, tf32 or bfloat16 (default: %(default)s)")
    parser.add_argument(
        "--queue", type=positive, default=2, metavar="N", help="messages under way on a link (default: %(default)s)"
    )
    parser.add_argument("--utilisation", type=float, metavar="U", help="share of the peak that training reaches (default: 0.4)")
    parser.add_argument("--measure", action="store_true", help="time the pieces on this machine instead of counting operations")
    parser.add_argument("--sweep", choices=AXES, help="how throughput and efficiency go with it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the plan, with versions")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the sweep, as SVG")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan, print the tables, and write the files.

    Raises:
        ConfigError: the plan cannot be made as asked; names all problems.
    """
    planned = _resolve(args)
    from torchsid.planner.forecast import forecast

    screen = console.choose()
    found = forecast(planned.trace, planned.speed, planned.mesh)
    screen.table(plan_tables.RANKS, [plan_tables.rank(planned, index, rank) for index, rank in enumerate(found.ranks)])
    print()
    screen.table(plan_tables.METHODS, [plan_tables.method(method) for method in found.methods])
    for note in (notes := plan_tables.notes(planned, found)):
        print(note)
    swept = _swept(screen, planned, args) if args.sweep else None
    if args.json:
        from torchsid.training.provenance import provenance

        command = {"command": shlex.join(["torchsid", *args.command]), "provenance": provenance()}
        results.write_json(args.json, {**command, **_as_json(planned, found), "notes": notes, "sweep": swept and asdict(swept)})
        screen.file("plan", args.json)
    return 0


def _resolve(args: argparse.Namespace) -> "Planned":
    from torchsid.planner.presets import ModelSpec
    from torchsid.planner.request import Request, resolve

    problems = ["figure: it draws a sweep; add --sweep devices"] if args.figure and not args.sweep else []
    model = ModelSpec(name=args.model, classes=args.classes, image_size=args.image_size, width=args.width, depth=args.depth)
    request = Request(
        model=model,
        devices=args.devices,
        stages=args.stages,
        data=args.data,
        link=args.link,
        latency=args.latency,
        batch_size=args.batch_size,
        micro_batches=args.micro_batches,
        optimizer=args.optimizer,
        precision=args.precision,
        queue=args.queue,
        utilisation=args.utilisation,
        measure=args.measure,
    )
    try:
        planned = resolve(request)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems], source="command") from None
    if problems:
        raise ConfigError(problems, source="command")
    return planned


def _swept(screen: console.Console, planned: "Planned", args: argparse.Namespace) -> "Sweep":
    """Print the sweep, and draw it."""
    from torchsid.planner.sweep import sweep

    swept = sweep(planned, args.sweep, progress=screen.note)
    print()
    screen.table(plan_tables.sweep_columns(swept), [plan_tables.point(point) for point in swept.points])
    for note in [*(f"left out: {note}" for note in swept.notes), *plan_tables.ends(swept)]:
        print(note)
    if args.figure:
        from torchsid.show.plots.curves import Line, curves
        from torchsid.show.svg import standalone
        from torchsid.training.durable import write_text

        values = [point.value for point in swept.points]
        ticks = {float(value): f"{value:g}" for value in values}
        drawn, hollow = [], "hollow: does not fit the memory"
        for name, factor, logarithmic in (("images_per_second", 1, "xy"), ("efficiency", 100, "x")):
            lines = []
            for place, method in enumerate(swept.ends):
                own = [point.methods[place] for point in swept.points]
                numbers = [factor * getattr(each, name) for each in own]
                lines.append(Line(method, values, numbers, hollow=[not each.fits for each in own]))
            title = f"{plan_tables.title(planned)}: {name.replace('_', ' ')}{', %' if factor == 100 else ''}"
            drawn.append(curves(title, lines, x=swept.axis, y=hollow, logarithmic=logarithmic, ticks=ticks))
        write_text(args.figure, standalone(*drawn))
        screen.file("figure", args.figure)
    return swept


def _as_json(planned: "Planned", found: "Forecast") -> dict[str, Any]:
    """Return all that was planned, with all its digits."""
    return {
        "settings": {**asdict(planned.mesh), "model": asdict(planned.request.model), "utilisation": planned.utilisation},
        "pieces": [asdict(piece) for piece in planned.trace.pieces],
        "seconds_a_sample": asdict(planned.speed),
        "ranks": [asdict(rank) for rank in found.ranks],
        "methods": [
            {
                **asdict(method),
                "efficiency": method.efficiency,
                "step_seconds": method.step.seconds,
                "memory_bytes": method.memory.total,
                "fits": method.fits,
                "limit": method.limit,
            }
            for method in found.methods
        ],
        "fill_seconds": found.fill,
        "needed_queue": found.queue,
    }
