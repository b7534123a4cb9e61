"""What a plan is asked for, checked: every problem that needs no model is reported at once, before a model is traced."""

from dataclasses import dataclass
from typing import cast

from torchsid.errors import ConfigError, unknown_name
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Link, Precision, read_devices, read_link
from torchsid.planner.forecast import Mesh
from torchsid.planner.measure import measure, this_machine
from torchsid.planner.memory import OPTIMIZERS, Optimizer
from torchsid.planner.presets import ModelSpec
from torchsid.planner.speed import UTILISATION, Speed, on_paper
from torchsid.planner.trace import Trace, trace

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
    optimizer: str = "adamw"
    precision: str = "bfloat16"
    queue: int = 2
    utilisation: float | None = None
    measure: bool = False


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
    count, device, link = _check(request)
    data, stages = _mesh(request, count)
    precision, optimizer = cast("Precision", request.precision), cast("Optimizer", request.optimizer)
    ranks = count // data
    found = trace(request.model, stages=stages, precision=precision)
    if stages > len(found.pieces):
        raise ConfigError(
            [
                f"stages {stages}: {request.model.name} can be cut into 1 to {len(found.pieces)}; ask for fewer --stages, and let "
                f"--data replicas of the pipeline use the other devices"
            ],
            source="command",
        )
    if device.name == MEASURED:
        device = this_machine(count, precision)
    samples = request.batch_size // data
    utilisation = request.utilisation or (1.0 if device.name == MEASURED else UTILISATION)
    if request.measure:
        speed = measure(request.model, stages=stages, devices=count, samples=samples, optimizer=optimizer, precision=precision)
    else:
        speed = on_paper(found, device, precision, utilisation)
    mesh = Mesh(
        device=device,
        link=link,
        ranks=ranks,
        data=data,
        stages=stages,
        batch=request.batch_size,
        micro_batches=request.micro_batches or usual_micro_batches(samples, ranks),
        optimizer=optimizer,
        precision=precision,
        queue=request.queue,
    )
    return Planned(request, found, speed, mesh, None if request.measure else utilisation)


def usual_micro_batches(samples: int, ranks: int) -> int:
    """Return the largest divisor of the samples that is at most four times the devices of the pipeline."""
    return max(number for number in range(1, min(_MICRO_BATCHES * ranks, samples) + 1) if samples % number == 0)


def _check(request: Request) -> tuple[int, Device, Link]:
    """Return how many devices, which, and their link; raise every problem at once."""
    problems: list[str] = []
    count, device, link = 0, None, None
    try:
        request.model.check()
    except ConfigError as error:
        problems += error.problems
    try:
        count, device = read_devices(request.devices)
    except ConfigError as error:
        problems += error.problems
    try:
        link = read_link(request.link, request.latency)
    except ConfigError as error:
        problems += error.problems
    if request.optimizer not in OPTIMIZERS:
        problems.append(unknown_name("optimizer", request.optimizer, OPTIMIZERS))
    if request.precision not in PRECISIONS:
        problems.append(unknown_name("precision", request.precision, PRECISIONS))
    elif device and device.flops and request.precision not in device.flops:
        problems.append(f"precision {request.precision}: {device.name} has {', '.join(device.flops)}")
    if request.utilisation is not None and not 0 < request.utilisation <= 1:
        problems.append(f"utilisation {request.utilisation}: give a share of the peak above 0, at most 1")
    if request.utilisation is not None and request.measure:
        problems.append("utilisation and measure: measured seconds need none; leave one out")
    problems += _uneven(request, count) if count else []
    if problems:
        raise ConfigError(problems, source="command")
    assert device is not None
    assert link is not None
    return count, device, link


def _mesh(request: Request, count: int) -> tuple[int, int]:
    """Return replicas and stages; by default a stage a device, and replicas where there are more devices than stages."""
    data = request.data or (count // request.stages if request.stages and request.stages < count else 1)
    return data, request.stages or max(count // data, 1)


def _uneven(request: Request, count: int) -> list[str]:
    """Return what does not divide."""
    data, stages = _mesh(request, count)
    ranks = count // data
    problems = []
    if count % data or not ranks:
        problems.append(f"data {data}: give a divisor of the {count} devices")
    elif ranks > stages:
        problems.append(
            f"stages {stages}: the {ranks} devices of a pipeline need one each; give {ranks} or more, or set --data so that "
            f"stages x data is the {count} devices"
        )
    if request.batch_size % data:
        problems.append(f"batch size {request.batch_size}: give a multiple of the {data} replicas")
    elif request.micro_batches and (request.batch_size // data) % request.micro_batches:
        problems.append(
            f"batch size {request.batch_size}: a replica's {request.batch_size // data} samples must be a multiple of the "
            f"{request.micro_batches} micro-batches"
        )
    return problems
