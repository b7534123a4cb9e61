"""SID and backpropagation on the same devices: where the model is cut, what every device holds, how long a step takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil, inf

from torchsid.cut.balance import balanced_cuts
from torchsid.planner.devices import Device, Link, Precision
from torchsid.planner.memory import FLOAT, Memory, Optimizer, holding, message_bytes, update_seconds
from torchsid.planner.speed import Speed
from torchsid.planner.steps import WORK, Step, collective, pipeline, sid
from torchsid.planner.trace import Trace

SID, ONE_F_ONE_B, ZB_H1, FSDP = METHODS = ("SID", "1F1B", "ZB-H1", "FSDP")


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
    """What one device does: consecutive pieces of the trunk, as consecutive stages."""

    stages: tuple[tuple[int, int], ...]
    """First piece and behind the last of each; one for backpropagation."""
    parameters: int
    """Whose gradients the replicas of the device sum."""
    memory: Memory
    seconds: float
    """That it computes in a step."""
    sent: float
    """Bytes that it hands to its neighbours in a step."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to train on the mesh."""

    mesh: Mesh
    """With full sharding all devices are replicas."""
    ranks: tuple[Rank, ...]
    step: Step

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(self.step.values())

    @property
    def images_per_second(self) -> float:
        """Over all replicas."""
        return self.mesh.batch / self.seconds

    @property
    def efficiency(self) -> float:
        """Of the throughput of as many devices that do nothing but forward and backward of the trunk."""
        return self.step[WORK] / self.seconds

    @property
    def memory(self) -> float:
        """Bytes of the fullest device."""
        return max(sum(rank.memory.values()) for rank in self.ranks)

    @property
    def fits(self) -> bool:
        """Whether the fullest device has the memory."""
        return self.memory <= self.mesh.device.memory

    @property
    def sent(self) -> float:
        """Bytes that the busiest device sends in a step, those of its replicas' sum of gradients included."""
        return max(rank.sent + 2 * (1 - 1 / self.mesh.data) * FLOAT * rank.parameters for rank in self.ranks)

    @property
    def limit(self) -> str:
        """What stands in the way first: the memory, else the largest loss; `"work"` when nothing is lost."""
        loss, name = max((part, name) for name, part in self.step.items() if name != WORK)
        return "memory" if not self.fits else name if loss > 1e-3 * self.seconds else WORK


def forecast(trace: Trace, speed: Speed, mesh: Mesh) -> dict[str, Method]:
    """Return the plan of a model on a mesh by SID, and the same mesh under each way of backpropagation, in the order of METHODS."""
    return {SID: _sid(trace, speed, mesh), **_pipelines(trace, speed, mesh), FSDP: _full_sharding(trace, speed, mesh)}


def assign(work: Sequence[float], ends: Sequence[float], links: Sequence[float], groups: int) -> tuple[tuple[int, int], ...]:
    """Return the groups as (first piece, behind the last) that make the slowest group as fast as possible.

        cost(a, b) = max(load(a, b), links_{b−1}),   load(a, b) = work_a + … + work_{b−1} + ends_{b−1}

    A group computes its pieces and the head at its end, and sends what crosses there meanwhile. Among the assignments with the
    smallest cost of the slowest group, one with even loads: where a link is the limit, no device need be full and another empty.

    Args:
        work: seconds of each piece.
        ends: seconds that a group needs beside, for the head, if it ends with the piece.
        links: seconds of the message behind each piece; the last sends none.
        groups: their number, 1 … pieces.
    """
    sums = [0.0, *accumulate(work)]

    def load(a: int, b: int) -> float:
        return sums[b] - sums[a] + ends[b - 1]

    def cost(a: int, b: int) -> float:
        return max(load(a, b), links[b - 1])

    fastest = balanced_cuts(len(work), groups, cost)
    assert fastest is not None
    slowest = max(cost(a, b) for a, b in pairwise((0, *fastest)))
    even = balanced_cuts(len(work), groups, lambda a, b: load(a, b) if cost(a, b) <= slowest else inf)
    assert even is not None
    return tuple(pairwise((0, *even)))


def _sid(trace: Trace, speed: Speed, mesh: Mesh) -> Method:
    samples, pieces = mesh.samples, trace.pieces
    work, heads = ([samples * each for each in seconds] for seconds in (speed.trunk, speed.heads))
    links = _links(trace, mesh, samples)
    stages = assign(work, heads, links, mesh.stages)
    own = [sum(work[a:b]) + heads[b - 1] for a, b in stages]
    groups = assign(own, [0.0] * len(own), [links[b - 1] for _, b in stages], mesh.ranks)

    ranks: list[Rank] = []
    updates: list[float] = []
    received = FLOAT * samples * trace.image
    for first, behind in groups:
        inside = stages[first:behind]
        end = inside[-1][1]
        sizes = [sum(piece.parameters for piece in pieces[a:b]) + pieces[b - 1].head_parameters for a, b in inside]
        sent = message_bytes(trace.crossing[end - 1], behind + 1, trace.classes, samples, mesh.wire) if end < len(pieces) else 0.0
        memory = holding(
            sum(sizes),
            mesh.optimizer,
            gradients=max(sizes),  # a stage is updated before the next one runs
            kept=max(trace.kept_bytes(a, b, samples, local=True) for a, b in inside),
            messages=mesh.queue * sent + received,
        )
        updates.append(update_seconds(sum(sizes), mesh.optimizer, speed.bandwidth))
        seconds = sum(own[first:behind]) + updates[-1]
        ranks.append(Rank(stages=inside, parameters=sum(sizes), memory=memory, seconds=seconds, sent=sent))
        received = sent
    trunk = [sum(work[rank.stages[0][0] : rank.stages[-1][1]]) for rank in ranks]
    ends = [sum(heads[b - 1] for _, b in rank.stages) for rank in ranks]
    return _method(mesh, ranks, sid(trunk, ends, updates, [rank.sent for rank in ranks], mesh.link, queue=mesh.queue))


def _pipelines(trace: Trace, speed: Speed, mesh: Mesh) -> dict[str, Method]:
    """Return 1F1B and ZB-H1, which hold the same memory."""
    micro, pieces = mesh.samples / mesh.micro_batches, trace.pieces
    groups = assign([micro * each for each in speed.trunk], [0.0] * len(pieces), _links(trace, mesh, micro), mesh.ranks)
    forward = [micro * sum(speed.forward[a:b]) for a, b in groups]
    backward = [micro * sum(speed.backward[a:b]) for a, b in groups]
    crossing = [micro * mesh.wire * trace.crossing[b - 1] for _, b in groups]

    ranks: list[Rank] = []
    for place, (a, b) in enumerate(groups):
        parameters = sum(piece.parameters for piece in pieces[a:b])
        under_way = min(mesh.micro_batches, mesh.ranks - place)
        fixed = trace.kept_bytes(a, b, 0, local=False)
        both_ways = crossing[place] + (crossing[place - 1] if place else 0.0)
        memory = holding(
            parameters,
            mesh.optimizer,
            kept=fixed + under_way * (trace.kept_bytes(a, b, micro, local=False) - fixed),
            messages=2 * both_ways or FLOAT * micro * trace.image,  # activations and their gradients
        )
        seconds, sent = (mesh.micro_batches * each for each in (forward[place] + backward[place], both_ways))
        ranks.append(Rank(stages=((a, b),), parameters=parameters, memory=memory, seconds=seconds, sent=sent))
    updates = [update_seconds(rank.parameters, mesh.optimizer, speed.bandwidth) for rank in ranks]
    return {
        name: _method(
            mesh,
            ranks,
            pipeline(forward, backward, updates, crossing, mesh.link, micro_batches=mesh.micro_batches, zero_bubble=name == ZB_H1),
        )
        for name in (ONE_F_ONE_B, ZB_H1)
    }


def _full_sharding(trace: Trace, speed: Speed, mesh: Mesh) -> Method:
    """Return full sharding (FSDP, ZeRO-3) over all N devices of the mesh, with all traffic behind the computation: its best case.

        T = max(compute, 3 (N−1)/N · parameters / bandwidth + 3 · pieces · ⌈log₂ N⌉ · latency) + update

    Parameters are gathered for the forward and again for the backward pass, gradients are reduced and scattered, piece by piece.
    """
    devices, pieces = mesh.devices, trace.pieces
    share, travels = trace.parameters / devices, mesh.wire * trace.parameters
    samples = ceil(mesh.batch / devices)
    gathered = 2 * mesh.wire * max(piece.parameters for piece in pieces) if devices > 1 else 0.0  # one in use, one on its way
    memory = holding(share, mesh.optimizer, kept=trace.kept_bytes(0, len(pieces), samples, local=False), messages=gathered)
    compute, work = (count * sum(speed.trunk) for count in (samples, mesh.batch / devices))
    traffic = 3 * len(pieces) * collective(travels / len(pieces), devices, mesh.link)
    step = {
        WORK: work,
        "batch": compute - work,
        "update": update_seconds(share, mesh.optimizer, speed.bandwidth),
        "traffic": max(0.0, traffic - compute),
    }
    sent = 3 * (devices - 1) / devices * travels
    # No parameters whose gradients the replicas would sum: the traffic of the step has done that.
    whole = Rank(stages=((0, len(pieces)),), parameters=0, memory=memory, seconds=compute, sent=sent)
    return _method(replace(mesh, ranks=1, data=devices), [whole], step)


def _method(mesh: Mesh, ranks: Sequence[Rank], step: Step) -> Method:
    """Return a method with the time in which its replicas sum the gradients of each rank's parameters."""
    gradients = FLOAT * max(rank.parameters for rank in ranks)
    if mesh.data > 1 and gradients:
        step = {**step, "gradients": 2 * collective(gradients, mesh.data, mesh.link)}
    return Method(mesh=mesh, ranks=tuple(ranks), step=step)


def _links(trace: Trace, mesh: Mesh, samples: float) -> list[float]:
    """Return the seconds that what crosses each point is on the link."""
    return [samples * mesh.wire * crossing / mesh.link.bandwidth for crossing in trace.crossing]
