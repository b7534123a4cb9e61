"""`torchsid bench`: measure on this machine what one training step costs.

torchsid bench step                                             the schedules of the paper's shared cascade
torchsid bench step   --model resnet-18 --stages 4 8 --trace    kept bytes and step time, and the order of events
torchsid bench memory --model resnet-18 vgg-11 vit-tiny         kept bytes and process peak of every contender
torchsid bench memory --model mlp --blocks 8 256                kept bytes do not grow with depth
torchsid bench pipeline --model resnet-18 --workers 2           several workers, against pipelines of backpropagation
torchsid bench pipeline --model gpt --blocks 8 --stages 4       the same of a language model
"""

import argparse
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.arguments import add_shared, positive
from torchsid.cli.console import MISSING, Console, draw, write_json
from torchsid.cli.streams import emit

if TYPE_CHECKING:
    from torchsid.bench.workload import Workload
    from torchsid.show.svg import Drawing

SHARED = "shared"
DEPTHS = (4, 8, 16, 64, 256)

_SIZES = ("width", "image_size", "classes", "context", "vocabulary", "head", "max_head_share", "candidates", "batch_size")
_OF_TRUNKS = ("stages", "blocks", *_SIZES[:-1], "trace", "figure")

Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    benches = parser.add_subparsers(metavar="WHAT", required=True)
    several: dict[str, Any] = {"type": positive, "nargs": "+", "metavar": "N"}

    def add(name: str, models: str, summary: str) -> argparse.ArgumentParser:
        bench = benches.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", allow_abbrev=False)
        bench.add_argument("--model", nargs="+", default=models.split(), metavar="NAME", help=f"networks (default: {models})")
        bench.add_argument("--width", type=positive, metavar="W", help="width of the network (default: its own)")
        bench.add_argument("--image-size", type=positive, metavar="S", help="side of an image in pixels (default: 32)")
        bench.add_argument("--classes", type=positive, metavar="C", help="classes of images and texts (default: 10)")
        bench.add_argument("--context", type=positive, metavar="T", help="tokens of a text (default: 64)")
        bench.add_argument("--vocabulary", type=positive, metavar="V", help="size of the vocabulary (default: 65)")
        bench.add_argument("--head", metavar="KIND", help="belief head, with settings KIND:SETTING=VALUE,… (default: auto)")
        bench.add_argument("--max-head-share", type=float, metavar="X", help="most work of a head, over a stage's (default: 0.25)")
        bench.add_argument(
            "--candidates", type=positive, metavar="N", help="outcomes that early stages tell apart, and the batch's"
        )
        bench.add_argument("--batch-size", type=positive, default=128, metavar="B", help="samples of a step (default: %(default)s)")
        bench.add_argument("--threads", type=positive, default=0, metavar="N", help="threads of PyTorch in each process")
        add_shared(bench, "--json")
        return bench

    memory = add("memory", "resnet-18 vgg-11 vit-tiny", "kept bytes and peak; on a processor each contender in a fresh process")
    step = add("step", SHARED, "time of a step, all contenders interleaved in one process")
    pipeline = add("pipeline", "resnet-18 vit-blocks mlp", "SID on several workers, against backpropagation's pipelines")
    for bench in (memory, step):
        bench.add_argument("--stages", **several, help="numbers of stages to cut a classifier into (default: 2 4 8 12)")
        bench.add_argument(
            "--blocks", **several, help="numbers of blocks, if the network has that setting; without --stages also of stages"
        )
        variants = "options of all contenders: float32 (default), bfloat16, channels-last, compiled, captured (CUDA), joined by +"
        bench.add_argument("--variant", nargs="+", default=["float32"], metavar="V", help=variants)
        bench.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")
    memory.set_defaults(measure=_memory)

    step.add_argument("--depths", **several, help="depths of the shared cascade (default: 4 8 16 64 256)")
    step.add_argument("--rounds", type=positive, default=12, metavar="N", help="rounds (default: %(default)s)")
    step.add_argument("--trace", action="store_true", help="print the order of events within a step")
    step.add_argument("--figure", type=Path, metavar="FILE", help="draw memory against time, as SVG")
    step.set_defaults(measure=_step, draw=_tradeoffs)

    for name, default, what in (("workers", 2, "processes"), ("stages", 8, "stages to cut a model into"), ("rounds", 5, "rounds")):
        pipeline.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"{what} (default: {default})")
    pipeline.add_argument("--blocks", type=positive, metavar="N", help="blocks, if the network has that setting (default: 16)")
    tried = "numbers of parts of a batch: the best counts (default: 4 8)"
    pipeline.add_argument("--micro-batches", **several, default=[4, 8], help=tried)
    pipeline.add_argument("--wire", default="float32", metavar="TYPE", help="type of SID's features: float32 (default) or bfloat16")
    pipeline.add_argument("--queue", type=positive, default=2, metavar="N", help="messages between two workers (default: 2)")
    fresh = "measure memory as well, each contender in fresh processes (default: yes, except under torchrun)"
    pipeline.add_argument("--memory", action=argparse.BooleanOptionalAction, default=None, help=fresh)
    pipeline.add_argument("--figure", type=Path, metavar="FILE", help="draw what each worker does when, as SVG; one file per model")
    pipeline.set_defaults(measure=_pipeline, draw=_timelines, threads=1)


def run(args: argparse.Namespace) -> int:
    """Measure, print one row a contender, and write the files."""
    screen = Console()
    result: dict[str, Any] | None = args.measure(args, screen)
    if result is None:  # the launcher's first process has it
        return 0
    _show(screen, [row for row in result["rows"] if row.get("best", True)], result["notes"])
    for each in result.get("trace", []):
        emit(f"\n{each['workload']}")
        _show(screen, each["events"])
    write_json(screen, args, "result", result, measured_on=result["settings"]["workloads"][0]["device"])
    if getattr(args, "figure", None):
        for path, drawings in args.draw(result, args.figure):
            draw(screen, path, *drawings)
    return 0


def _memory(args: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from torchsid.bench.steps import bench_memory

    problems = [f"variant {each}: memory is that of an eager step; leave captured out" for each in _captured(args)]
    workloads, notes = _plan(args, problems)
    return {**bench_memory(workloads, threads=args.threads, progress=screen.note), "notes": notes}


def _step(args: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from torchsid.bench.steps import bench_steps, trace_steps

    problems = [] if args.rounds > 1 else [f"--rounds {args.rounds}: quartiles need 2 or more"]
    if args.trace:
        problems += [f"variant {each}: a replayed step has no events to --trace; leave one of them out" for each in _captured(args)]
    workloads, notes = _plan(args, problems)
    result = {**bench_steps(workloads, rounds=args.rounds, threads=args.threads, progress=screen.note), "notes": notes}
    if args.trace:
        result["trace"] = [{"workload": workload.title, "events": trace_steps(workload)} for workload in workloads]
    return result


def _pipeline(args: argparse.Namespace, screen: Console) -> dict[str, Any] | None:
    from torchsid.bench.comparisons import PipelineSettings, plan_pipelines
    from torchsid.bench.pipeline.bench import bench_pipeline
    from torchsid.bench.processes import launched, problems

    given = _given(args, "workers", "stages", "rounds", "threads", "wire", "queue")
    settings = PipelineSettings(**given, micro_batches=tuple(sorted(set(args.micro_batches))))
    found = problems(settings.workers)
    if args.memory and launched():
        found.append("--memory: a launcher's processes serve all contenders, and memory takes fresh ones; start without torchrun")
    workloads = plan_pipelines(args.model, settings, blocks=args.blocks, problems=found, **_given(args, *_SIZES))
    memory = not launched() if args.memory is None else args.memory
    return bench_pipeline(workloads, settings, memory=memory, progress=screen.note)


def _tradeoffs(result: Mapping[str, Any], path: Path) -> "Iterator[tuple[Path, list[Drawing]]]":
    """Yield the file with a panel a network: memory against time."""
    from torchsid.show.plots.points import Mark, Point, tradeoff

    panels: dict[str, list[Mark]] = {}
    for row in result["rows"]:
        if {"step_over_backprop", "kept_over_backprop"} <= row.keys():
            mark = Mark(row["contender"], row["kept_over_backprop"], Point(row["step_over_backprop"]))
            panels.setdefault(row["network"], []).append(mark)
    x, y = "kept bytes / backpropagation", "step time / backpropagation"
    yield path, [tradeoff(title, marks, x=x, y=y) for title, marks in panels.items()]


def _timelines(result: Mapping[str, Any], path: Path) -> "Iterator[tuple[Path, list[Drawing]]]":
    """Yield a file a model: what each worker does when."""
    from torchsid.show.plots.timeline import timeline

    models = dict.fromkeys(each["model"] for each in result["timelines"])
    for model in models:
        name = "".join(letter if letter.isalnum() else "-" for letter in model).replace("--", "-")
        file = path if len(models) == 1 else path.with_stem(f"{path.stem}-{name}")
        lanes = {each["contender"]: each["workers"] for each in result["timelines"] if each["model"] == model}
        yield file, [timeline(f"{model}: the first training steps, worker by worker", lanes)]


def _plan(args: argparse.Namespace, problems: list[str]) -> "tuple[list[Workload], list[str]]":
    """Return the workloads, and a note on what cannot be had; raise every problem of the command at once."""
    from torchsid.bench.comparisons import plan_shared, plan_workloads

    chosen: dict[str, Any] = {"variants": args.variant, **_given(args, "device")}
    if SHARED not in args.model or "depths" not in args:
        if getattr(args, "depths", None):
            problems.append("--depths is for the shared cascade; classifiers are cut by --stages")
        return plan_workloads(args.model, args.stages, problems=problems, **chosen, **_given(args, "blocks", *_SIZES))
    if len(args.model) > 1:
        problems.append(f"--model {' '.join(args.model)}: the shared cascade stands alone; run the bench twice")
    if unused := [f"--{name.replace('_', '-')}" for name in _OF_TRUNKS if getattr(args, name)]:
        problems.append(f"{', '.join(unused)}: not for the shared cascade; name a classifier, such as --model resnet-18")
    return plan_shared(args.depths or DEPTHS, args.batch_size, problems=problems, **chosen), []


def _captured(args: argparse.Namespace) -> list[str]:
    """Return the variants that are captured."""
    return [each for each in args.variant if "captured" in each.split("+")]


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options that were given, or have a default here."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _show(screen: Console, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Print a table, without the columns that no row has a number for, and what could not be measured."""
    shown = {head: [_cell(template, row) for row in rows] for head, template in _COLUMNS.items()}
    shown = {head: cells for head, cells in shown.items() if set(cells) != {MISSING}}
    screen.table(list(shown), list(zip(*shown.values(), strict=True)))
    for note in [*notes, *(f"{row['network']}, {row['contender']}: {row['note']}" for row in rows if row.get("note"))]:
        emit(f"left out: {note}")


class _Cells(string.Formatter):
    """Fills a column's template from a row; what may be a number or one a worker is both."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a number as text; the format `MiB` is for bytes."""
        if isinstance(value, list | tuple):
            return " / ".join(MISSING if each is None else self.format_field(each, format_spec) for each in value)
        return f"{value / 2**20:.2f} MiB" if format_spec == "MiB" else format(value, format_spec)


def _cell(template: str, row: Row) -> str:
    try:
        return _Cells().vformat(template, (), row)
    except (KeyError, TypeError):  # not measured: None has no digits
        return MISSING


_COLUMNS = {
    "model": "{network}",
    "contender": "{contender}",
    "event": "{what}",
    "after": "{milliseconds:.1f} ms",
    "stages": "{stages}",
    "gradients": "{gradients_ms:.2f} ms\n{gradients_quartiles_ms[0]:.2f}–{gradients_quartiles_ms[1]:.2f}",
    "/ reference": "{gradients_over_reference:.2f}",
    "/ backprop": "{gradients_over_backprop:.2f}",
    "step": "{step_ms:.2f} ms\n{step_quartiles_ms[0]:.2f}–{step_quartiles_ms[1]:.2f}",
    "step / reference": "{step_over_reference:.2f}",
    "step / backprop": "{step_over_backprop:.2f}",
    "step / checkpointing": "{step_over_checkpointing:.2f}",
    "images/s": "{images_per_second:,.0f}",
    "texts/s": "{texts_per_second:,.0f}",
    "tokens/s": "{tokens_per_second:,.0f}",
    "speed-up": "{speed_up:.2f}",
    "with fill": "{speed_up_with_fill:.2f}",
    "over backprop": "{over_backprop:.2f}",
    "efficiency": "{efficiency:.0%}",
    "idle": "{idle:.0%}",
    "sent a step": "{sent_bytes:MiB}",
    "kept": "{kept_bytes:MiB}",
    "kept / backprop": "{kept_over_backprop:.2f}",
    "peak": "{peak_mib:.1f} MiB",
    "peak / backprop": "{peak_over_backprop:.2f}",
    "head parameters": "{head_parameters:,}",
    "head work": "{head_share:.1%}",
}
