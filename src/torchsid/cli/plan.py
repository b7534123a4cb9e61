"""`torchsid plan`: forecast what a training on other machines would take, for SID and backpropagation side by side.

torchsid plan --model vit-large --devices 16xH100 --link 50GB/s          cuts, memory, traffic, step time
torchsid plan --model vit-giant --stages 16 --devices 64xA100            four replicas of a pipeline of 16
torchsid plan --model vit-large --devices 16xH100 --sweep devices        how it scales, and what limits it
torchsid plan --model resnet-18 --image-size 32 --devices 2xmeasured --measure --precision float32 --optimizer momentum
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.arguments import add_shared, positive
from torchsid.cli.console import Console, draw, write_json
from torchsid.planner.devices import Bytes, Count, Seconds, Share

if TYPE_CHECKING:
    from torchsid.bench.synthetic import Synthetic
    from torchsid.planner.forecast import Forecast, Rank
    from torchsid.planner.request import Planned, Points
    from torchsid.show.svg import Drawing

OPTIONS = (  # flag, how it is read, default, what stands for its value, help
    ("--width", positive, None, "W", "width of the model, instead of its own"),
    ("--depth", positive, None, "N", "blocks of a vit, a gpt or an mlp, instead of its own"),
    ("--image-size", positive, 224, "S", "side of an image in pixels"),
    ("--classes", positive, 1000, "C", "classes of images and texts"),
    ("--context", positive, 1024, "T", "tokens of a text"),
    ("--vocabulary", positive, 50257, "V", "size of the vocabulary"),
    ("--head", str, "auto", "NAME", "belief head of the stages, whatever it costs"),
    ("--devices", str, "1xH100", "NxNAME", "16xH100, 2xmeasured, or 4xflops=50T,memory=12GiB,bandwidth=300GB/s"),
    ("--stages", positive, None, "N", "stages to cut the model into, instead of one per device"),
    ("--data", positive, None, "D", "replicas of the pipeline, instead of devices / stages"),
    ("--link", str, "50GB/s", "RATE", "bandwidth of a device, each way: 50GB/s, 100Mbit/s"),
    ("--latency", str, "10us", "TIME", "latency of the link: 10us, 100ms"),
    ("--batch-size", positive, 256, "B", "samples of a step, over all replicas"),
    ("--micro-batches", positive, None, "M", "micro-batches of 1F1B and ZB-H1, instead of four per device"),
    ("--parts", positive, 1, "K", "parts of a batch that SID and FSDP process in turn, accumulating gradients"),
    ("--optimizer", str, "adamw", "NAME", "sgd, momentum or adamw"),
    ("--precision", str, "bfloat16", "NAME", "float32, tf32 or bfloat16"),
    ("--queue", positive, 2, "N", "messages in flight on a link"),
    ("--refresh", positive, 1, "S", "steps between two refreshes of a shared readout"),
    ("--utilisation", float, None, "U", "share of the peak that training reaches, instead of 0.4"),
    ("--images", positive, None, "N", "training images: adds the cost of the whole training and the bytes of the data"),
    ("--epochs", positive, 90, "N", "epochs of the whole training"),
    ("--sweep", str, None, "AXIS", "throughput and efficiency over devices, depth, width or batch"),
    ("--figure", Path, None, "FILE", "draw the sweep, as SVG"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="a classifier, vit-small … vit-giant, gpt2 … gpt2-xl, gpt-7b, mlp-64, mlp-256",
    )
    for flag, read, default, metavar, help_ in OPTIONS:
        shown = "" if default is None else " (default: %(default)s)"
        parser.add_argument(flag, type=read, default=default, metavar=metavar, help=help_ + shown)
    parser.add_argument("--measure", action="store_true", help="time the pieces on this machine instead of counting operations")
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Plan, print the tables, and write the files."""
    from torchsid.planner.forecast import METHODS, SID, forecast
    from torchsid.planner.model import ModelSpec
    from torchsid.planner.request import PlanRequest, end_of_scaling, resolve, sweep

    sizes = ("classes", "image_size", "context", "vocabulary", "width", "depth", "head")
    model = ModelSpec(name=args.model, **{size: getattr(args, size) for size in sizes})
    asked: dict[str, Any] = {name: getattr(args, name) for name in PlanRequest.__dataclass_fields__ if name != "model"}
    problems = ["figure: it draws a sweep; add --sweep devices"] if args.figure and not args.sweep else []
    planned, screen = resolve(PlanRequest(model=model, **asked), problems), Console()
    methods, samples = forecast(planned.trace, planned.speed, planned.mesh), planned.trace.samples
    found: dict[str, Sequence[Mapping[str, object]]] = {
        "plan": [_plan(planned, methods[SID])],
        "ranks": [_rank(planned, place, rank) for place, rank in enumerate(methods[SID].ranks, 1)],
        "methods": [_method(name, method, samples) for name, method in methods.items()],
    }
    if args.images:
        size = prod(samples.shape)
        found["whole"] = [_whole(name, method, size, args) for name, method in methods.items()]
    if args.sweep:
        points, left_out = sweep(planned, progress=screen.note)
        along = [{args.sweep: value, **_method(name, point[name], samples)} for name in METHODS for value, point in points.items()]
        ends = [{"method": name, "keeps half of the ideal throughput": end_of_scaling(points, name)} for name in METHODS if along]
        found |= {"sweep": along, "ends": ends, "left out": [{"left out": note} for note in left_out]}
        if args.figure:
            draw(screen, args.figure, *_drawings(points, args.sweep, model.name, samples))
    for rows in found.values():
        screen.rows(rows)
    learnt = {"mesh": planned.mesh, "pieces": planned.trace.pieces, "seconds a sample": planned.speed}
    write_json(screen, args, "plan", learnt | found, measured_on="cpu")
    return 0


def _plan(planned: "Planned", sid: "Forecast") -> dict[str, object]:
    """Return what the other tables rest on, and how SID's pipeline fills."""
    from torchsid.planner.forecast import fill_seconds, needed_queue

    model, mesh, sent = planned.request.model, planned.mesh, [rank.sent for rank in sid.ranks]
    step = (sid.seconds - sid.step.get("gradients", 0.0)) / mesh.parts
    sent = [size / mesh.parts for size in sent]
    samples = planned.trace.samples
    sizes = [f"{what} {size}" for what, size in (("width", model.width), ("depth", model.depth)) if size]
    reads = f"{model.image_size} pixels" if samples.task == "images" else f"{model.context} tokens of {model.vocabulary:,}"
    return {
        "model": ", ".join([model.name, *sizes, reads]),
        "parameters": Count(planned.trace.parameters),
        "multiply-adds": Count(sum(piece.operations for piece in planned.trace.pieces)),
        "pieces": len(planned.trace.pieces),
        "device": mesh.device.name,
        "its memory": Bytes(mesh.device.memory),
        f"{samples.unit} a step": mesh.batch * samples.positions,
        "micro-batches": mesh.micro_batches,
        "precision": mesh.precision,
        "optimizer": mesh.optimizer,
        "of the peak": planned.utilisation and Share(planned.utilisation),
        "fills in": Seconds(fill_seconds(step, sent, mesh.link)),
        "queue": mesh.queue,
        "queue that hides latency": needed_queue(step - sid.step["latency"] / mesh.parts, sent, mesh.link),
    }


def _rank(planned: "Planned", place: int, rank: "Rank") -> dict[str, object]:
    """Return one device of SID's pipeline."""
    return {
        "device": place,
        "stages": len(rank.stages),
        "ends after": planned.trace.pieces[rank.stages[-1][1] - 1].cut or "the model",
        "trains": Count(rank.parameters),
        **{what: Bytes(size) for what, size in rank.memory.items()},
        "memory": Bytes(sum(rank.memory.values())),
        "computes": Seconds(rank.seconds),
        "sends": Bytes(rank.sent),
    }


def _method(name: str, method: "Forecast", samples: "Synthetic") -> dict[str, object]:
    """Return one way to train."""
    return {
        "method": name,
        "ranks": method.mesh.ranks,
        "replicas": method.mesh.data,
        "step": Seconds(method.seconds),
        f"{samples.unit}/s": Count(method.samples_per_second * samples.positions),
        "efficiency": Share(method.efficiency),
        "memory": Bytes(method.memory),
        "fits": "yes" if method.fits else "no",
        "sends a step": Bytes(method.sent),
        "limited by": method.limit,
    }


def _whole(name: str, method: "Forecast", size: int, args: argparse.Namespace) -> dict[str, object]:
    """Return what a training of `args.epochs` over `args.images` takes, each of them `size` bytes as a cache holds it (uint8)."""
    steps = -(-args.images // method.mesh.batch) * args.epochs
    return {
        "method": name,
        "epochs": args.epochs,
        "steps": Count(steps),
        "training": Seconds(steps * method.seconds),
        "sends": Bytes(steps * method.sent),
        "data": Bytes(args.images * size),
        "data a second": Bytes(method.samples_per_second * size),
    }


def _drawings(points: "Points", axis: str, model: str, samples: "Synthetic") -> "Iterator[Drawing]":
    from torchsid.planner.forecast import METHODS
    from torchsid.show.plots.curves import Line, curves

    values, ticks = list(points), {float(value): str(value) for value in points}
    rate = (f"{samples.unit} a second", "samples_per_second", samples.positions, "xy")
    panels = (rate, ("efficiency, %", "efficiency", 100, "x"))
    for title, name, scale, logarithmic in panels:
        lines = []
        for method in METHODS:
            along = [point[method] for point in points.values()]
            numbers = [scale * getattr(each, name) for each in along]
            lines.append(Line(method, values, numbers, [not each.fits for each in along]))
        hollow = "hollow: does not fit the memory"
        yield curves(f"{model}: {title}", lines, x=axis, y=hollow, logarithmic=logarithmic, ticks=ticks)
