"""What a plan is asked for, checked: every problem that needs no model is reported at once, before a model is traced.

And how throughput and efficiency go with the devices, the depth, the width or the batch, and what ends the scaling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.devices import MEASURED, PRECISIONS, STATES, Mesh, Optimizer, Precision, read_devices, read_link
from torchsid.planner.forecast import METHODS, Forecast, forecast
from torchsid.planner.model import ModelSpec, Speed, Trace, measure, model_names, on_paper, this_machine, trace

Axis = Literal["devices", "depth", "width", "batch"]
UTILISATION = 0.4  # of the peak that training reaches: usual for large models on data-centre devices
_MICRO_BATCHES = 4  # a device of the pipeline, the least that GPipe recommends
MAX_DEVICES = 4096
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_ENOUGH = 0.5  # of the ideal throughput: below, scaling has ended
Points = dict[int, Mapping[str, Forecast]]  # the forecasts at each number of devices, blocks, units of width or samples, ascending


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A plan as it is asked for; what is None is chosen."""

    model: ModelSpec
    devices: str = "1xH100"
    stages: int | None = None
    data: int | None = None
    link: str = "50GB/s"
    latency: str = "10us"
    batch_size: int = 256
    micro_batches: int | None = None
    parts: int = 1
    optimizer: Optimizer = "adamw"
    precision: Precision = "bfloat16"
    queue: int = 2
    refresh: int = 1
    utilisation: float | None = None
    measure: bool = False
    sweep: Axis | None = None  # what `sweep` is to vary


@dataclass(frozen=True)
class Planned:
    """A request that can be met."""

    request: PlanRequest
    trace: Trace
    speed: Speed
    mesh: Mesh
    utilisation: float | None  # of the peak; None where seconds were measured


def resolve(request: PlanRequest, problems: Sequence[str] = ()) -> Planned:
    """Check a request, trace its model, and time its pieces; all that is wrong, with problems found before, is one ConfigError."""
    mesh = _mesh(request, problems)
    found = trace(request.model, stages=mesh.stages, precision=mesh.precision)
    if mesh.stages > (most := len(found.pieces)):
        advice = "ask for fewer --stages, and let --data replicas of the pipeline use the other devices"
        raise ConfigError([f"stages {mesh.stages}: {request.model.name} can be cut into 1 to {most}; {advice}"], source="command")
    utilisation = request.utilisation or (1.0 if mesh.device is MEASURED else UTILISATION)
    if mesh.device is MEASURED:
        mesh = replace(mesh, device=this_machine(mesh.devices, mesh.precision))
    speed = measure(request.model, mesh) if request.measure else on_paper(found, mesh, utilisation)
    return Planned(request, found, speed, mesh, None if request.measure else utilisation)


def _mesh(request: PlanRequest, problems: Sequence[str]) -> Mesh:
    """Return the devices and what they train with: a stage a device, and replicas where there are more devices than stages."""
    model, precision, batch, micro_batches = request.model, request.precision, request.batch_size, request.micro_batches
    problems = [*problems, *model.problems()]
    count, device = read_devices(request.devices, problems)
    link = read_link(request.link, request.latency, problems)
    for what, allowed in (("optimizer", STATES), ("precision", PRECISIONS), ("sweep", (*get_args(Axis), None))):
        if (name := getattr(request, what)) not in allowed:
            problems.append(unknown_name(what, name, filter(None, allowed)))
    if device.flops and precision in PRECISIONS and precision not in device.flops:
        problems.append(f"precision {precision}: {device.name} has {', '.join(device.flops)}")
    if request.utilisation is not None and not 0 < request.utilisation <= 1:
        problems.append(f"utilisation {request.utilisation}: give a share of the peak above 0, at most 1")
    if request.measure and request.utilisation is not None:
        problems.append("utilisation and measure: measured seconds need none; leave one out")
    if request.measure and request.sweep not in (None, "devices"):
        problems.append(f"sweep {request.sweep}: measured seconds hold for one model and batch; leave --measure out")
    if request.sweep == "depth" and model.name in model_names() and model.own("depth") is None:
        problems.append(f"sweep depth: {model.name} has a fixed one; sweep devices, width or batch")
    data = request.data or (count // request.stages if request.stages and request.stages < count else 1)
    ranks, samples = count // data, batch // data
    stages = request.stages or max(ranks, 1)
    if count % data:
        problems.append(f"data {data}: give a divisor of the {count} devices")
    elif ranks > stages:
        advice = f"give {ranks} or more, or set --data so that stages x data is the {count} devices"
        problems.append(f"stages {stages}: the {ranks} devices of a pipeline need one each; {advice}")
    if batch % data:
        problems.append(f"batch size {batch}: give a multiple of the {data} replicas")
    elif micro_batches and samples % micro_batches:
        what = f"batch size {batch}: a replica's {samples} samples"
        problems.append(f"{what} must be a multiple of the {micro_batches} micro-batches")
    elif samples % request.parts:
        problems.append(f"batch size {batch}: a replica's {samples} samples must be a multiple of the {request.parts} parts")
    if problems:
        raise ConfigError(problems, source="command")
    return Mesh(
        device=device,
        link=link,
        ranks=ranks,
        data=data,
        stages=stages,
        batch=batch,
        micro_batches=micro_batches or usual_micro_batches(samples, ranks),
        optimizer=request.optimizer,
        precision=precision,
        queue=request.queue,
        refresh=request.refresh,
        parts=request.parts,
    )


def usual_micro_batches(samples: int, ranks: int) -> int:
    """Return the largest divisor of the samples that is at most four times the devices of the pipeline."""
    return max(number for number in range(1, min(_MICRO_BATCHES * ranks, samples) + 1) if samples % number == 0)


def sweep(planned: Planned, progress: Callable[[str], None] = lambda _: None) -> tuple[Points, list[str]]:
    """Return the forecasts along the axis that the plan's request asks for, and why some had to be left out.

    * `"devices"`: 1, 2, 4 … 4096. The samples a device stay what they are in the plan; every method takes the pipeline length
      (a power of two, up to the pieces of the model) that fits and is fastest, and as many replicas as there are devices for.
    * `"depth"`, `"width"`, `"batch"`: a quarter to four times the plan's, on its mesh; `progress` is told each of them.
    """
    request, model, axis = planned.request, planned.request.model, planned.request.sweep
    if axis == "devices":
        return {2**n: _on_devices(planned, 2**n) for n in range(MAX_DEVICES.bit_length())}, []
    own = model.own(axis) if axis == "depth" or axis == "width" else request.batch_size
    assert own is not None  # `resolve` has refused others
    points: Points = {}
    left_out: list[str] = []
    for value in sorted({max(round(own * factor), 1) for factor in _FACTORS}):
        progress(f"{axis} {value}")
        sized: dict[str, Any] = {"batch_size": value, "micro_batches": None}
        if axis != "batch":
            sized = {"model": replace(model, depth=value) if axis == "depth" else replace(model, width=value)}
        try:
            found = resolve(replace(request, **sized))
            points[value] = forecast(found.trace, found.speed, found.mesh)
        except ConfigError as error:
            left_out += [f"{axis} {value}: {problem}" for problem in error.problems]
    return points, left_out


def end_of_scaling(points: Points, name: str) -> str:
    """Return how far a method keeps half of the ideal throughput, and what ends it."""
    found = [(value, point[name]) for value, point in points.items()]
    good = [place for place, (_, method) in enumerate(found) if method.fits and method.efficiency >= _ENOUGH]
    if not good:
        return f"nowhere: {found[-1][1].limit}"
    value, behind = found[good[-1]][0], found[good[-1] + 1 :]
    return f"to {value}, then {behind[0][1].limit}" if behind else f"to {value} and beyond"


def _on_devices(planned: Planned, devices: int) -> Mapping[str, Forecast]:
    """Return each method with the pipeline that is fastest among those that fit; if none does, that lacks least memory."""
    mesh = planned.mesh
    each = max(mesh.batch // mesh.devices, 1)  # samples a device
    found = []
    for ranks in (2**n for n in range(min(devices, len(planned.trace.pieces)).bit_length())):
        here = replace(mesh, ranks=ranks, stages=ranks, data=devices // ranks, batch=each * devices)
        here = replace(here, micro_batches=usual_micro_batches(each * ranks, ranks))
        found.append(forecast(planned.trace, planned.speed, here))

    def merit(method: Forecast) -> tuple[bool, float]:
        return method.fits, method.samples_per_second if method.fits else -method.memory

    return {name: max((forecasts[name] for forecasts in found), key=merit) for name in METHODS}
