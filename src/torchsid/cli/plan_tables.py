"""The tables of `torchsid plan`: columns, and the parts of a plan as cells and sentences."""

from typing import TYPE_CHECKING

from torchsid.cli.bench import MISSING
from torchsid.planner.units import in_bytes, in_seconds

if TYPE_CHECKING:
    from torchsid.planner.forecast import Forecast, Method, Rank
    from torchsid.planner.request import Planned
    from torchsid.planner.sweep import Point, Sweep

RANKS = (
    "device",
    "stages",
    "ends after",
    "parameters",
    "weights",
    "gradients",
    "optimizer",
    "kept",
    "messages",
    "memory",
    "computes",
    "sends",
)
METHODS = ("method", "devices", "step", "images/s", "efficiency", "memory", "sends a step", "limited by")


def rank(planned: "Planned", index: int, rank: "Rank") -> list[str]:
    """Return one device of SID's pipeline."""
    memory = rank.memory
    parts = (memory.parameters, memory.gradients, memory.optimizer, memory.kept, memory.messages, memory.total)
    return [
        str(index + 1),
        str(len(rank.stages)),
        planned.trace.pieces[rank.end - 1].name or "the model",
        f"{rank.parameters:,}",
        *map(in_bytes, parts),
        in_seconds(rank.seconds),
        in_bytes(rank.sent) if rank.sent else MISSING,
    ]


def method(method: "Method") -> list[str]:
    """Return one way to train."""
    return [
        method.name,
        f"{method.ranks} x {method.data}" if method.ranks > 1 else str(method.data),
        in_seconds(method.step.seconds),
        f"{method.images_per_second:,.0f}",
        f"{100 * method.efficiency:.1f} %",
        memory(method),
        in_bytes(method.sent) if method.sent else MISSING,
        method.limit,
    ]


def memory(method: "Method") -> str:
    """Return the memory of the fullest device, and whether it has that much."""
    needed, capacity = in_bytes(method.memory.total), in_bytes(method.capacity)
    return f"{needed} of {capacity}" if method.fits else f"{needed} of {capacity}, does not fit"


def notes(planned: "Planned", found: "Forecast") -> list[str]:
    """Return what the tables do not say: the settings they rest on, how SID's pipeline fills, what does not fit."""
    mesh, trace = planned.mesh, planned.trace
    speed = (
        "seconds measured on this machine" if planned.utilisation is None else f"{100 * planned.utilisation:g} % of the peak FLOP/s"
    )
    replicas = f" x {mesh.data} replicas" if mesh.data > 1 else ""
    lines = [
        f"{title(planned)}: {trace.parameters:,} parameters, {trace.flops / 2e9:.2f} G multiply-adds, {len(trace.pieces)} pieces",
        f"{mesh.ranks} devices{replicas}, {mesh.batch} images a step, {mesh.micro_batches} micro-batches, {mesh.precision}, "
        f"{mesh.optimizer}, {speed}",
    ]
    if mesh.ranks > 1:
        advice = "" if mesh.queue >= found.queue else f"; set --queue {found.queue}"
        lines.append(
            f"SID: the pipeline fills once, in {in_seconds(found.fill)}; a queue of {found.queue} hides the latency of the link, "
            f"it is {mesh.queue}{advice}"
        )
    lines += [
        f"{each.name} does not fit: {in_bytes(each.memory.total)} of {in_bytes(each.capacity)}"
        for each in found.methods
        if not each.fits
    ]
    return lines


def title(planned: "Planned") -> str:
    """Return the model and what differs from its name."""
    model = planned.request.model
    sizes = (("width", model.width), ("depth", model.depth))
    return ", ".join([model.name, *(f"{name} {value}" for name, value in sizes if value), f"{model.image_size} pixels"])


def sweep_columns(swept: "Sweep") -> list[str]:
    """Return the axis, then each method."""
    return [swept.axis, *(method.name for method in swept.points[0].methods)] if swept.points else [swept.axis]


def point(point: "Point") -> list[str]:
    """Return throughput, efficiency and mesh of every method at one value."""
    return [f"{point.value:,}", *map(_at, point.methods)]


def ends(swept: "Sweep") -> list[str]:
    """Return how far each method scales."""
    return [f"{name} keeps half of the ideal throughput {end}" for name, end in swept.ends.items()]


def _at(method: "Method") -> str:
    if not method.fits:
        return f"{in_bytes(method.memory.total)}: does not fit"
    mesh = f"{method.ranks} x {method.data}" if method.ranks > 1 else str(method.data)
    return f"{method.images_per_second:,.0f}/s, {100 * method.efficiency:.0f} %\n{mesh}, {method.limit}"
