"""`torchsid bench pipeline`: SID on several workers against backpropagation's pipelines and data parallelism.

torchsid bench pipeline --model resnet-18 vit-blocks mlp --workers 2 --stages 8 --json pipeline.json --figure pipeline.svg
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli import console, results
from torchsid.cli.arguments import Subparsers, positive
from torchsid.cli.bench_tables import PIPELINES
from torchsid.errors import ConfigError

if TYPE_CHECKING:
    from torchsid.bench.pipeline.plan import Settings
    from torchsid.bench.workload import Workload

MODELS = ("resnet-18", "vit-blocks", "mlp")
MICRO_BATCHES = (2, 4, 8, 16)
_CUT = ("blocks", "width", "image_size", "classes", "head")


def add_parser(benches: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `pipeline` to the benches."""
    parser = benches.add_parser("pipeline", help="SID on several workers, against pipelines of backpropagation", allow_abbrev=False)
    parser.add_argument(
        "--model", nargs="+", default=list(MODELS), metavar="NAME", help=f"classifiers or vit-blocks (default: {' '.join(MODELS)})"
    )
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="processes on this machine (default: %(default)s)")
    parser.add_argument("--stages", type=positive, default=8, metavar="N", help="to cut a model into (default: %(default)s)")
    parser.add_argument(
        "--micro-batches",
        type=positive,
        nargs="+",
        default=list(MICRO_BATCHES),
        metavar="N",
        help="tried by the pipelines of backpropagation, whose best counts (default: 2 4 8 16)",
    )
    parser.add_argument("--blocks", type=positive, metavar="N", help="of mlp and vit-blocks (default: 16)")
    parser.add_argument("--width", type=positive, metavar="W", help="of the models (default: their own)")
    parser.add_argument("--image-size", type=positive, metavar="S", help="pixels a side (default: 32)")
    parser.add_argument("--classes", type=positive, metavar="C", help="(default: 10)")
    parser.add_argument("--head", metavar="KIND", help="of the stages (default: auto)")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="B", help="images (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="of each worker (default: %(default)s)")
    parser.add_argument("--wire", default="float32", metavar="TYPE", help="of SID's features: float32, bfloat16 (default: float32)")
    parser.add_argument(
        "--queue", type=positive, default=2, metavar="N", help="messages between two workers (default: %(default)s)"
    )
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="measure memory as well, each contender in fresh processes (default: yes, except under torchrun)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result, with hardware and versions")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw what each worker does when, as SVG; one file a model")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print one row a contender, and write the files.

    Raises:
        ConfigError: a setting is wrong; names all problems.
        RunError: a worker failed.
    """
    workloads, settings = _plan(args)
    from torchsid.bench.workers.bench import bench_pipeline
    from torchsid.bench.workers.launch import launched

    screen = console.choose()
    memory = not launched() if args.memory is None else args.memory
    result = bench_pipeline(workloads, settings, memory=memory, progress=screen.note)
    if result is None:
        return 0
    screen.table(PIPELINES.columns, [PIPELINES.cells(row) for row in result["rows"] if row["best"]])
    for note in result["notes"]:
        print(note)
    if args.json:
        results.write_json(args.json, {"command": shlex.join(["torchsid", *args.command]), **result})
        screen.file("result", args.json)
    if args.figure:
        _draw(screen, args.figure, result["timelines"])
    return 0


def _plan(args: argparse.Namespace) -> "tuple[list[Workload], Settings]":
    """Return what is to be measured, or raise every problem of the command at once."""
    from torchsid.bench.pipeline.plan import Settings, plan_pipelines
    from torchsid.bench.workers.launch import launched, problems

    settings = Settings(
        workers=args.workers,
        stages=args.stages,
        micro_batches=tuple(sorted(set(args.micro_batches))),
        rounds=args.rounds,
        threads=args.threads,
        wire=args.wire,
        queue=args.queue,
    )
    found = problems(settings.workers)
    if args.memory and launched():
        found.append("--memory: a launcher's processes serve all contenders, and memory takes fresh ones; start without torchrun")
    given = {name: value for name in _CUT if (value := getattr(args, name)) is not None}
    try:
        workloads = plan_pipelines(args.model, settings, batch_size=args.batch_size, **given)
    except ConfigError as error:
        found += error.problems
    if found:
        raise ConfigError(found, source="command")
    return workloads, settings


def _draw(screen: console.Console, path: Path, timelines: list[dict[str, Any]]) -> None:
    """Write one figure a model; with several, the name of the model is added to that of the file."""
    from torchsid.show.plots.timeline import timeline
    from torchsid.show.svg import standalone
    from torchsid.training.durable import write_text

    models = dict.fromkeys(each["model"] for each in timelines)
    for model in models:
        own = [each for each in timelines if each["model"] == model]
        name = "".join(letter if letter.isalnum() else "-" for letter in model).replace("--", "-")
        file = path if len(models) == 1 else path.with_stem(f"{path.stem}-{name}")
        lanes = {each["contender"]: each["workers"] for each in own}
        write_text(file, standalone(timeline(f"{model}: {own[0]['steps']} training steps, worker by worker", lanes)))
        screen.file("figure", file)
