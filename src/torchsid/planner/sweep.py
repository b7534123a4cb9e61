"""How throughput and efficiency go with the devices, the depth, the width or the batch, and what ends the scaling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torchsid.errors import ConfigError
from torchsid.planner.forecast import METHODS, Method, forecast
from torchsid.planner.request import Planned, usual_micro_batches
from torchsid.planner.speed import on_paper
from torchsid.planner.trace import trace

Axis = Literal["devices", "depth", "width", "batch"]
AXES: tuple[Axis, ...] = get_args(Axis)
MAX_DEVICES = 4096
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_ENOUGH = 0.5  # of the ideal throughput: below, scaling has ended


@dataclass(frozen=True)
class Point:
    """All methods at one number of devices, blocks, units of width or samples."""

    value: int
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Sweep:
    """The points in ascending order, what ends the scaling of each method, and what had to be left out."""

    axis: Axis
    points: tuple[Point, ...]
    ends: dict[str, str]
    notes: tuple[str, ...] = ()


def sweep(planned: Planned, axis: Axis, progress: Callable[[str], None] = lambda _: None) -> Sweep:
    """Return the forecasts along one axis.

    * `"devices"`: 1, 2, 4 … 4096. The samples a device stay what they are in the plan; every method takes the pipeline length
      (a power of two, up to the pieces of the model) that fits and is fastest, and as many replicas as there are devices for.
    * `"depth"`, `"width"`, `"batch"`: a quarter to four times the plan's, on its mesh.

    Raises:
        ConfigError: the model's depth is fixed, or its pieces were measured, which holds for one model and one batch.
    """
    request = planned.request
    if request.measure and axis != "devices":
        raise ConfigError([f"sweep {axis}: measured seconds hold for one model and batch; leave --measure out"], source="command")
    if axis == "devices":
        return _finished(axis, _devices(planned))
    return _finished(axis, *_others(planned, axis, progress))


def _finished(axis: Axis, points: Sequence[Point], notes: Sequence[str] = ()) -> Sweep:
    return Sweep(axis, tuple(points), {name: _end(name, points) for name in METHODS if points}, tuple(notes))


def _devices(planned: Planned) -> list[Point]:
    mesh, pieces = planned.mesh, len(planned.trace.pieces)
    each = max(mesh.batch // mesh.devices, 1)  # samples a device
    points, devices = [], 1
    while devices <= MAX_DEVICES:
        candidates: list[Method] = []
        ranks = 1
        while ranks <= min(devices, pieces):
            data = devices // ranks
            here = replace(
                mesh,
                ranks=ranks,
                data=data,
                stages=ranks,
                batch=each * devices,
                micro_batches=usual_micro_batches(each * ranks, ranks),
            )
            candidates += forecast(planned.trace, planned.speed, here).methods
            ranks *= 2
        points.append(Point(devices, tuple(_best([each for each in candidates if each.name == name]) for name in METHODS)))
        devices *= 2
    return points


def _best(candidates: Sequence[Method]) -> Method:
    """Return the fastest that fits, or what lacks least memory."""
    fitting = [method for method in candidates if method.fits]
    if fitting:
        return max(fitting, key=lambda method: method.images_per_second)
    return min(candidates, key=lambda method: method.memory.total)


def _others(planned: Planned, axis: Axis, progress: Callable[[str], None]) -> tuple[list[Point], list[str]]:
    request, mesh = planned.request, planned.mesh
    own = {"depth": request.model.own_depth, "width": request.model.own_width, "batch": mesh.batch}[axis]
    if own is None:
        raise ConfigError([f"sweep depth: {request.model.name} has a fixed one; sweep devices, width or batch"], source="command")
    points, notes = [], []
    for value in sorted({max(round(own * factor), 1) for factor in _FACTORS}):
        progress(f"{axis} {value}")
        try:
            points.append(Point(value, _at(planned, axis, value)))
        except ConfigError as error:
            notes += [f"{axis} {value}: {problem}" for problem in error.problems]
    return points, notes


def _at(planned: Planned, axis: Axis, value: int) -> tuple[Method, ...]:
    """Return the methods with another depth, width or batch.

    Raises:
        ConfigError: the model or the batch cannot be had on the mesh.
    """
    request, mesh = planned.request, planned.mesh
    if axis == "batch":
        if value % mesh.data:
            raise ConfigError([f"no multiple of the {mesh.data} replicas"], source="sweep")
        micro_batches = usual_micro_batches(value // mesh.data, mesh.ranks)
        return forecast(planned.trace, planned.speed, replace(mesh, batch=value, micro_batches=micro_batches)).methods
    model = replace(request.model, depth=value) if axis == "depth" else replace(request.model, width=value)
    found = trace(model, stages=mesh.stages, precision=mesh.precision)
    if mesh.stages > len(found.pieces):
        raise ConfigError([f"can be cut into {len(found.pieces)} stages only, not {mesh.stages}"], source="sweep")
    assert planned.utilisation is not None
    return forecast(found, on_paper(found, mesh.device, mesh.precision, planned.utilisation), mesh).methods


def _end(name: str, points: Sequence[Point]) -> str:
    """Return how far a method keeps half of the ideal throughput, and why no further."""
    methods = [point.methods[METHODS.index(name)] for point in points]
    good = [place for place, method in enumerate(methods) if method.fits and method.efficiency >= _ENOUGH]
    if not good:
        return f"nowhere: {methods[-1].limit}"
    last = good[-1]
    if last == len(points) - 1:
        return f"to {points[last].value} and beyond"
    beyond = methods[last + 1]
    shape = f" (pipelines of {beyond.ranks} devices)" if beyond.ranks > 1 else ""
    return f"to {points[last].value}, then {beyond.limit}{shape}"
