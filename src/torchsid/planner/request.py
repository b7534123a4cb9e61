"""What a plan is asked for, checked: every problem that needs no model is reported at once, before a model is traced."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Link, Precision, collecting, read_devices, read_link
from torchsid.planner.forecast import Mesh
from torchsid.planner.measure import measure, this_machine
from torchsid.planner.memory import OPTIMIZERS, Optimizer
from torchsid.planner.presets import ModelSpec, names
from torchsid.planner.speed import UTILISATION, Speed, on_paper
from torchsid.planner.trace import Trace, trace

Axis = Literal["devices", "depth", "width", "batch"]
AXES: tuple[Axis, ...] = get_args(Axis)
_MICRO_BATCHES = 4  # a device of the pipeline, the least that GPipe recommends


@dataclass(frozen=True, kw_only=True)
class Request:
    """A plan as it is asked for; what is None is chosen."""

    model: ModelSpec
    devices: str = "1xH100"
    stages: int | None = None
    data: int | None = None
    link: str = "50GB/s"
    latency: str = "10us"
    batch_size: int = 256
    micro_batches: int | None = None
    optimizer: Optimizer = "adamw"
    precision: Precision = "bfloat16"
    queue: int = 2
    utilisation: float | None = None
    measure: bool = False
    sweep: Axis | None = None
    """What `torchsid.planner.sweep` is asked to vary as well."""


@dataclass(frozen=True)
class Planned:
    """A request that can be met."""

    request: Request
    trace: Trace
    speed: Speed
    mesh: Mesh
    utilisation: float | None
    """Of the peak; None where seconds were measured."""


def resolve(request: Request) -> Planned:
    """Check a request, trace its model, and time its pieces.

    Raises:
        ConfigError: something is unknown or does not go together; names all problems.
    """
    model, mesh = request.model, _mesh(request)
    found = trace(model, stages=mesh.stages, precision=mesh.precision)
    if mesh.stages > (most := len(found.pieces)):
        advice = "ask for fewer --stages, and let --data replicas of the pipeline use the other devices"
        raise ConfigError([f"stages {mesh.stages}: {model.name} can be cut into 1 to {most}; {advice}"], source="command")
    utilisation = request.utilisation or (1.0 if mesh.device.name == MEASURED else UTILISATION)
    if mesh.device.name == MEASURED:
        mesh = replace(mesh, device=_this_machine(mesh.devices, mesh.precision))
    if not request.measure:
        return Planned(request, found, on_paper(found, mesh.device, mesh.precision, utilisation), mesh, utilisation)
    samples = mesh.batch // mesh.data
    shares = {"devices": mesh.devices, "samples": samples, "stages": mesh.stages}
    speed = measure(model, **shares, optimizer=mesh.optimizer, precision=mesh.precision)
    return Planned(request, found, speed, mesh, None)


def _mesh(request: Request) -> Mesh:
    """Return the devices and what they train with: a stage a device, and replicas where there are more devices than stages."""
    model, stages, batch, micro_batches = request.model, request.stages, request.batch_size, request.micro_batches
    problems: list[str] = []
    device: Device | None = None
    link: Link | None = None
    with collecting(problems):
        model.check()
    with collecting(problems):
        count, device = read_devices(request.devices)
    with collecting(problems):
        link = read_link(request.link, request.latency)
    for what, allowed in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS), ("sweep", (*AXES, None))):
        if (name := getattr(request, what)) not in allowed:
            problems.append(unknown_name(what, name, filter(None, allowed)))
    if device and device.flops and request.precision in PRECISIONS and request.precision not in device.flops:
        problems.append(f"precision {request.precision}: {device.name} has {', '.join(device.flops)}")
    if request.utilisation is not None and not 0 < request.utilisation <= 1:
        problems.append(f"utilisation {request.utilisation}: give a share of the peak above 0, at most 1")
    if request.measure and request.utilisation is not None:
        problems.append("utilisation and measure: measured seconds need none; leave one out")
    if request.measure and request.sweep not in (None, "devices"):
        problems.append(f"sweep {request.sweep}: measured seconds hold for one model and batch; leave --measure out")
    if request.sweep == "depth" and model.name in names() and model.own("depth") is None:
        problems.append(f"sweep depth: {model.name} has a fixed one; sweep devices, width or batch")
    if device:
        data = request.data or (count // stages if stages and stages < count else 1)
        ranks, samples = count // data, batch // data
        stages = stages or max(ranks, 1)
        if count % data:
            problems.append(f"data {data}: give a divisor of the {count} devices")
        elif ranks > stages:
            advice = f"give {ranks} or more, or set --data so that stages x data is the {count} devices"
            problems.append(f"stages {stages}: the {ranks} devices of a pipeline need one each; {advice}")
        if batch % data:
            problems.append(f"batch size {batch}: give a multiple of the {data} replicas")
        elif micro_batches and samples % micro_batches:
            what = f"a replica's {samples} samples must be a multiple of the {micro_batches} micro-batches"
            problems.append(f"batch size {batch}: {what}")
    if problems:
        raise ConfigError(problems, source="command")
    assert device is not None
    assert link is not None
    assert stages is not None
    return Mesh(
        device=device,
        link=link,
        ranks=ranks,
        data=data,
        stages=stages,
        batch=batch,
        micro_batches=micro_batches or usual_micro_batches(samples, ranks),
        optimizer=request.optimizer,
        precision=request.precision,
        queue=request.queue,
    )


def usual_micro_batches(samples: int, ranks: int) -> int:
    """Return the largest divisor of the samples that is at most four times the devices of the pipeline."""
    return max(number for number in range(1, min(_MICRO_BATCHES * ranks, samples) + 1) if samples % number == 0)


@cache
def _this_machine(devices: int, precision: Precision) -> Device:
    """Measure once, so that the points of a sweep have the same device."""
    return this_machine(devices, precision)
