"""What a plan is asked for, checked: every problem that needs no model is reported at once, before a model is traced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.devices import MEASURED, PRECISIONS, STATES, Mesh, Optimizer, Precision, read_devices, read_link
from torchsid.planner.model import ModelSpec, Trace, model_names, trace
from torchsid.planner.speed import Speed, measure, on_paper, this_machine

Axis = Literal["devices", "depth", "width", "batch"]
UTILISATION = 0.4  # of the peak that training reaches: usual for large models on data-centre devices
_MICRO_BATCHES = 4  # a device of the pipeline, the least that GPipe recommends


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

    request: PlanRequest
    trace: Trace
    speed: Speed
    mesh: Mesh
    utilisation: float | None
    """Of the peak; None where seconds were measured."""


def resolve(request: PlanRequest, problems: Sequence[str] = ()) -> Planned:
    """Check a request, trace its model, and time its pieces.

    Args:
        request: what is asked for.
        problems: that the caller has found already, to be told with the others.

    Raises:
        ConfigError: something is unknown or does not go together; names all problems.
    """
    mesh = _mesh(request, problems)
    found = trace(request.model, stages=mesh.stages, precision=mesh.precision)
    if mesh.stages > (most := len(found.pieces)):
        advice = "ask for fewer --stages, and let --data replicas of the pipeline use the other devices"
        raise ConfigError([f"stages {mesh.stages}: {request.model.name} can be cut into 1 to {most}; {advice}"], source="command")
    utilisation = request.utilisation or (1.0 if mesh.device is MEASURED else UTILISATION)
    if mesh.device is MEASURED:
        mesh = replace(mesh, device=this_machine(mesh.devices, mesh.precision))
    if request.measure:
        return Planned(request, found, measure(request.model, mesh), mesh, None)
    return Planned(request, found, on_paper(found, mesh, utilisation), mesh, utilisation)


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
        what = f"a replica's {samples} samples must be a multiple of the {micro_batches} micro-batches"
        problems.append(f"batch size {batch}: {what}")
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
    )


def usual_micro_batches(samples: int, ranks: int) -> int:
    """Return the largest divisor of the samples that is at most four times the devices of the pipeline."""
    return max(number for number in range(1, min(_MICRO_BATCHES * ranks, samples) + 1) if samples % number == 0)
