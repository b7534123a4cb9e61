"""SID and backpropagation on the same devices: where the model is cut, what every device holds, how long a step takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from torchsid.planner.assign import assign
from torchsid.planner.devices import Device, Link, Precision
from torchsid.planner.memory import FLOAT, Memory, Optimizer, holding, message_bytes, update_seconds
from torchsid.planner.speed import Speed
from torchsid.planner.steps import (
    WORK,
    MicroBatch,
    Step,
    all_reduce,
    fill_seconds,
    full_sharding,
    needed_queue,
    one_f_one_b,
    sid,
    zb_h1,
)
from torchsid.planner.trace import Trace

SID, ONE_F_ONE_B, ZB_H1, FSDP = "SID", "1F1B", "ZB-H1", "FSDP"
METHODS = (SID, ONE_F_ONE_B, ZB_H1, FSDP)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The devices, `ranks` of a pipeline by `data` replicas, and what they train with."""

    device: Device
    link: Link
    ranks: int
    data: int
    stages: int
    batch: int
    """Samples of a step, over all replicas."""
    micro_batches: int
    """Of a replica's share; SID needs none."""
    optimizer: Optimizer
    precision: Precision
    queue: int
    """Messages that may be under way on a link of SID."""

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.ranks * self.data

    @property
    def samples(self) -> float:
        """Of a step in one replica."""
        return self.batch / self.data

    @property
    def wire(self) -> int:
        """Bytes of a number that travels."""
        return 2 if self.precision == "bfloat16" else FLOAT


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One device of a pipeline: consecutive pieces of the trunk, as consecutive stages."""

    start: int
    end: int
    stages: tuple[tuple[int, int], ...]
    """First piece and behind the last of each of its stages; one for backpropagation."""
    parameters: int
    memory: Memory
    seconds: float
    """That it computes in a step."""
    sent: float
    """Bytes that it hands to the next one in a step."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to train on the mesh."""

    name: str
    ranks: int
    data: int
    step: Step
    images_per_second: float
    memory: Memory
    """Of the fullest device."""
    capacity: float
    sent: float
    """Bytes that the busiest device sends in a step."""

    @property
    def efficiency(self) -> float:
        """Of the throughput of as many devices that do nothing but forward and backward of the trunk."""
        return self.step.efficiency

    @property
    def fits(self) -> bool:
        """Whether the fullest device has the memory."""
        return self.memory.total <= self.capacity

    @property
    def limit(self) -> str:
        """What stands in the way first."""
        return self.step.limit if self.fits else "memory"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of a mesh."""

    ranks: tuple[Rank, ...]
    """Of SID's pipeline."""
    methods: tuple[Method, ...]
    fill: float
    """Seconds until SID's last device has work, once."""
    queue: int
    """Messages under way on a link that hide its latency."""


def forecast(trace: Trace, speed: Speed, mesh: Mesh) -> Forecast:
    """Return the plan of a model on a mesh, and the same mesh under backpropagation."""
    ranks, step = _sid(trace, speed, mesh)
    sent = [rank.sent for rank in ranks]
    return Forecast(
        ranks=tuple(ranks),
        methods=(
            _method(SID, mesh, step, ranks),
            *_pipelines(trace, speed, mesh),
            _full_sharding(trace, speed, mesh),
        ),
        fill=fill_seconds(step, sent, mesh.link),
        queue=needed_queue(step.seconds - step.parts["latency"], sent, mesh.link),
    )


def _sid(trace: Trace, speed: Speed, mesh: Mesh) -> tuple[list[Rank], Step]:
    """Return SID's devices and step."""
    samples, pieces = mesh.samples, trace.pieces
    work, heads = _times(speed.trunk, samples), _times(speed.heads, samples)
    links = _links(trace, mesh, samples)
    stages = assign(work, heads, links, mesh.stages)
    own = tuple(sum(work[a:b]) + heads[b - 1] for a, b in stages)
    groups = assign(own, (0.0,) * len(own), tuple(links[b - 1] for _, b in stages), mesh.ranks)

    ranks: list[Rank] = []
    received = FLOAT * samples * trace.image
    for first, behind in groups:
        inside = stages[first:behind]
        start, end = inside[0][0], inside[-1][1]
        sizes = [sum(piece.parameters for piece in pieces[a:b]) + pieces[b - 1].head_parameters for a, b in inside]
        sent = message_bytes(pieces[end - 1].crossing, behind + 1, trace.classes, samples, mesh.wire) if end < len(pieces) else 0.0
        memory = holding(
            sum(sizes),
            mesh.optimizer,
            gradients=max(sizes),  # a stage is updated before the next one runs
            kept=max(trace.kept_bytes(a, b, samples, local=True) for a, b in inside),
            messages=mesh.queue * sent + received,
        )
        seconds = sum(own[first:behind]) + update_seconds(sum(sizes), mesh.optimizer, speed.bandwidth)
        ranks.append(Rank(start=start, end=end, stages=inside, parameters=sum(sizes), memory=memory, seconds=seconds, sent=sent))
        received = sent
    return ranks, sid(
        [sum(work[rank.start : rank.end]) for rank in ranks],
        [sum(heads[b - 1] for _, b in rank.stages) for rank in ranks],
        [update_seconds(rank.parameters, mesh.optimizer, speed.bandwidth) for rank in ranks],
        [rank.sent for rank in ranks],
        mesh.link,
        queue=mesh.queue,
    )


def _pipelines(trace: Trace, speed: Speed, mesh: Mesh) -> list[Method]:
    """Return 1F1B and ZB-H1, which hold the same memory."""
    micro, pieces = mesh.samples / mesh.micro_batches, trace.pieces
    links = _links(trace, mesh, micro)
    groups = assign(_times(speed.trunk, micro), (0.0,) * len(pieces), links, mesh.ranks)
    back = [micro * sum(speed.backward[a:b]) / 2 for a, b in groups]
    crossing = [micro * mesh.wire * pieces[b - 1].crossing if b < len(pieces) else 0.0 for _, b in groups]
    each = MicroBatch([micro * sum(speed.forward[a:b]) for a, b in groups], back, back, crossing)

    ranks: list[Rank] = []
    received, image = 0.0, FLOAT * micro * trace.image
    for place, ((a, b), sent) in enumerate(zip(groups, crossing, strict=True)):
        parameters = sum(piece.parameters for piece in pieces[a:b])
        under_way = min(mesh.micro_batches, mesh.ranks - place)
        fixed = trace.fixed_bytes(a, b)
        memory = holding(
            parameters,
            mesh.optimizer,
            kept=fixed + under_way * (trace.kept_bytes(a, b, micro, local=False) - fixed),
            messages=2 * (sent + received) or image,  # activations and their gradients
        )
        seconds = mesh.micro_batches * each.totals[place]
        both_ways = mesh.micro_batches * (sent + received)
        ranks.append(Rank(start=a, end=b, stages=((a, b),), parameters=parameters, memory=memory, seconds=seconds, sent=both_ways))
        received = sent
    updates = [update_seconds(rank.parameters, mesh.optimizer, speed.bandwidth) for rank in ranks]
    return [
        _method(name, mesh, step(each, updates, mesh.link, micro_batches=mesh.micro_batches), ranks)
        for name, step in ((ONE_F_ONE_B, one_f_one_b), (ZB_H1, zb_h1))
    ]


def _full_sharding(trace: Trace, speed: Speed, mesh: Mesh) -> Method:
    """Return full sharding over all devices of the mesh, the batch shared out among them."""
    devices, pieces = mesh.devices, trace.pieces
    samples = ceil(mesh.batch / devices)
    share = trace.parameters / devices
    gathered = 2 * mesh.wire * max(piece.parameters for piece in pieces) if devices > 1 else 0.0  # one in use, one on its way
    memory = holding(share, mesh.optimizer, kept=trace.kept_bytes(0, len(pieces), samples, local=False), messages=gathered)
    update = update_seconds(share, mesh.optimizer, speed.bandwidth)
    compute = samples * sum(speed.trunk)
    travels = mesh.wire * trace.parameters
    step = full_sharding(compute, update, travels, len(pieces), devices, mesh.link)
    uneven = compute - mesh.batch / devices * sum(speed.trunk)
    step = Step({**step.parts, WORK: step.parts[WORK] - uneven, "batch": uneven})
    sent = 3 * (devices - 1) / devices * travels
    whole = Rank(start=0, end=len(pieces), stages=(), parameters=0, memory=memory, seconds=compute, sent=sent)
    return _method(FSDP, mesh, step, [whole])


def _method(name: str, mesh: Mesh, step: Step, ranks: Sequence[Rank]) -> Method:
    """Return a method with what its replicas exchange beside: the gradients of each rank's parameters."""
    gradients = [FLOAT * rank.parameters for rank in ranks]  # full sharding has exchanged them, and counts none here
    if mesh.data > 1 and any(gradients):
        step = Step({**step.parts, "gradients": max(all_reduce(size, mesh.data, mesh.link) for size in gradients)})
    beside = 2 * (mesh.data - 1) / mesh.data
    return Method(
        name=name,
        ranks=1 if name == FSDP else mesh.ranks,
        data=mesh.devices if name == FSDP else mesh.data,
        step=step,
        images_per_second=mesh.batch / step.seconds,
        memory=max((rank.memory for rank in ranks), key=lambda memory: memory.total),
        capacity=mesh.device.memory,
        sent=max(rank.sent + beside * size for rank, size in zip(ranks, gradients, strict=True)),
    )


def _times(seconds: Sequence[float], samples: float) -> tuple[float, ...]:
    return tuple(samples * each for each in seconds)


def _links(trace: Trace, mesh: Mesh, samples: float) -> tuple[float, ...]:
    """Return the seconds that what crosses each point is on the link; behind the last nothing is."""
    sizes = [samples * mesh.wire * piece.crossing for piece in trace.pieces[:-1]]
    return (*(size / mesh.link.bandwidth for size in sizes), 0.0)
