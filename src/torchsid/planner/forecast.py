"""SID and backpropagation on the same devices: where the model is cut, what every device holds, how long a step takes.

Times are in seconds, sizes in bytes; a step is given as parts that add up to it, so that the largest part beside the work tells
what to change. docs/planning.md derives the formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil, inf, log2

from torchsid.cut.cuts import balanced_cuts
from torchsid.planner.devices import FLOAT, STATES, Link, Mesh
from torchsid.planner.model import Speed, Trace

WORK = "work"
Step = Mapping[str, float]
"""Seconds by where they go: `"work"` is forward and backward of the trunk, evenly on all devices; all other parts are losses."""


def sid(
    trunk: Sequence[float],
    heads: Sequence[float],
    updates: Sequence[float],
    sent: Sequence[float],
    link: Link,
    *,
    queue: int,
    parts: int = 1,
) -> Step:
    """Return the steady step of SID's pipeline, which no gradient travels back through.

        T = max(max_r compute_r, max_r sent_r / bandwidth, parts · max_r (latency + sent_r / (parts · bandwidth)) / queue)

    Of each device: the seconds of forward and backward of its pieces of the trunk and of its heads, of its update, and the bytes
    that it hands on in a step, a message for each part of the batch, the last none.
    """
    devices = len(trunk)
    compute = [sum(parts) for parts in zip(trunk, heads, updates, strict=True)]
    slowest = max(compute)
    paced = max(slowest, *(size / link.bandwidth for size in sent))
    queued = max(paced, *(parts * link.seconds(size / parts) / queue for size in sent if size), 0.0)
    return {
        WORK: sum(trunk) / devices,
        "heads": sum(heads) / devices,
        "update": sum(updates) / devices,
        "imbalance": slowest - sum(compute) / devices,
        "messages": paced - slowest,
        "latency": queued - paced,
    }


def fill_seconds(part_seconds: float, sent: Sequence[float], link: Link) -> float:
    """Return how long SID's pipeline takes once, at the start, until the last device has work; of one part of a batch."""
    return (len(sent) - 1) * part_seconds + sum(link.seconds(size) for size in sent[:-1])


def needed_queue(part_seconds: float, sent: Sequence[float], link: Link) -> int:
    """Return how many messages must be under way on a link to hide its latency: `⌈(latency + sent / bandwidth) / T⌉`, of a part."""
    return max((ceil(link.seconds(size) / part_seconds - 1e-9) for size in sent if size), default=1) or 1


def pipeline(
    forward: Sequence[float],
    backward: Sequence[float],
    updates: Sequence[float],
    sent: Sequence[float],
    link: Link,
    *,
    micro_batches: int,
    zero_bubble: bool,
) -> Step:
    """Return a step of a backpropagation pipeline of p devices over m micro-batches: 1F1B, or with `zero_bubble` ZB-H1.

    A device computes F_k forward, B_k of gradients of inputs and W_k of weights, half and half; `t_k = F_k + B_k + W_k`. A hop
    takes `c_j = latency + sent_j / bandwidth`. A micro-batch goes from device k to the last and back in
    `L_k = Σ_{j≥k} t_j + 2 Σ_{k≤j<p−1} c_j`, and device k has p−k of them under way.

    1F1B (arXiv 1806.03377, with a flush): `T = L_0 + (m−1) · max(max_k t_k, max_k L_k / (p−k))`; even and with c = 0
    `(m + p − 1) (F + B + W)`.

    ZB-H1 (arXiv 2401.10241) fills the bubble with gradients of weights, in the same memory: even and with c = 0
    `m (F + B + W) + (p − 1) (F + B − W)`. With messages, its `L_k` counts F and B alone.

    Of each device: the seconds forward and backward for one micro-batch, those of the update once a step, and the bytes of
    activations that it hands on, as many as of gradients that it gets back, for one micro-batch; of the last device none.
    """
    devices = len(forward)
    totals = [f + b for f, b in zip(forward, backward, strict=True)]
    back = [f + b / 2 for f, b in zip(forward, backward, strict=True)]
    loop, filled = (back, sum(backward[1:])) if zero_bubble else (totals, 0.0)
    slowest, mean = max(totals), sum(totals) / devices

    def total(hops: Sequence[float]) -> float:
        trips = [(sum(loop[k:]) + 2 * sum(hops[k:])) / (devices - k) for k in range(devices)]
        way = sum(totals) + 2 * sum(hops) - filled + (micro_batches - 1) * max(slowest, *trips)
        return max(way, micro_batches * slowest)

    alone = total([0.0] * (devices - 1))
    silent = total([link.seconds(size) for size in sent[:-1]])
    paced = max(silent, micro_batches * max(size / link.bandwidth for size in sent))
    return {
        WORK: micro_batches * mean,
        "update": sum(updates) / devices,
        "imbalance": micro_batches * (slowest - mean) + max(updates) - sum(updates) / devices,
        "bubble": alone - micro_batches * slowest,
        "messages": paced - alone,
    }


def collective(size: float, devices: int, link: Link) -> float:
    """Return the time of an all-gather or a reduce-scatter that is bound by the link, in as few rounds as there can be.

    `(D−1)/D · size / bandwidth + ⌈log₂ D⌉ · latency`; the sum of gradients over replicas is one after the other.
    """
    return (devices - 1) / devices * size / link.bandwidth + ceil(log2(devices)) * link.latency


SID, ONE_F_ONE_B, ZB_H1, FSDP = METHODS = ("SID", "1F1B", "ZB-H1", "FSDP")
_HEADER = 10_000  # bytes of a message, about


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What one device holds and sends, and of SID what it does: consecutive pieces of the trunk, as consecutive stages."""

    parameters: int  # whose gradients the replicas of the device sum
    # Bytes by what they are for: with full sharding, messages hold the gathered parameters. What the allocator loses and what
    # kernels need for themselves is not known here.
    memory: Mapping[str, float]
    sent: float  # bytes that it hands to its neighbours in a step
    stages: tuple[tuple[int, int], ...] = ()  # first piece and behind the last of each
    seconds: float = 0.0  # that it computes in a step


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One way to train on the mesh."""

    mesh: Mesh  # with full sharding all devices are replicas
    ranks: tuple[Rank, ...]
    step: Step

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(self.step.values())

    @property
    def samples_per_second(self) -> float:
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


def forecast(trace: Trace, speed: Speed, mesh: Mesh) -> dict[str, Forecast]:
    """Return the plan of a model on a mesh by SID, and the same mesh under each way of backpropagation, in the order of METHODS."""
    return {SID: _sid(trace, speed, mesh), **_pipelines(trace, speed, mesh), FSDP: _full_sharding(trace, speed, mesh)}


def assign(work: Sequence[float], ends: Sequence[float], links: Sequence[float], groups: int) -> tuple[tuple[int, int], ...]:
    """Return the groups as (first piece, behind the last) that make the slowest group as fast as possible.

        cost(a, b) = max(load(a, b), links_{b−1}),   load(a, b) = work_a + … + work_{b−1} + ends_{b−1}

    A group computes its pieces and the head at its end, and sends what crosses there meanwhile: all are seconds, of each piece.
    Among the assignments with the smallest cost of the slowest group, one with even loads: where a link is the limit, no device
    need be full and another empty.
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


def holding(mesh: Mesh, parameters: float, *, gradients: float | None = None, kept: float, messages: float) -> Mapping[str, float]:
    """Return the memory of a device that trains so many parameters, of which so many have gradients at once, by default all."""
    return {
        "parameters": FLOAT * parameters,
        "gradients": FLOAT * (parameters if gradients is None else gradients),
        "optimizer": FLOAT * STATES[mesh.optimizer] * parameters,
        "kept": kept,
        "messages": messages,
    }


def _sid(trace: Trace, speed: Speed, mesh: Mesh) -> Forecast:
    samples, pieces, parts = mesh.batch / mesh.data, trace.pieces, mesh.parts
    part = samples / parts
    work, heads = ([samples * each for each in seconds] for seconds in (speed.trunk, speed.heads))
    links = _links(trace, mesh, samples)
    stages = assign(work, heads, links, mesh.stages)
    own = [sum(work[a:b]) + heads[b - 1] for a, b in stages]
    groups = [stages[a:b] for a, b in assign(own, [0.0] * len(own), [links[b - 1] for _, b in stages], mesh.ranks)]
    trunk = [sum(work[inside[0][0] : inside[-1][1]]) for inside in groups]
    ends = [sum(heads[b - 1] for _, b in inside) for inside in groups]
    updates: list[float] = []
    ranks: list[Rank] = []
    received, before = part * trace.samples.sample_bytes, 0
    for place, inside in enumerate(groups):
        end, before = inside[-1][1], before + len(inside)
        sizes = [sum(piece.parameters for piece in pieces[a:b]) + pieces[b - 1].head_parameters for a, b in inside]
        updates.append(mesh.update_bytes(sum(sizes)) / speed.bandwidth)
        # What crosses the cut, what is known of the beliefs so far, a header; the last one sends back a readout that heads share.
        told = trace.belief_bytes(part, before, taught=before + 1 < mesh.stages)  # the last stage has α = 1
        message = part * mesh.wire * trace.crossing[end - 1] + told + _HEADER
        ends_here, back = end == len(pieces), FLOAT * trace.readout * (mesh.ranks > 1)
        sent = back * place / mesh.refresh if ends_here else parts * message
        memory = holding(
            mesh,
            sum(sizes),
            gradients=max(sizes) if parts == 1 else sum(sizes),  # of the whole batch, a stage is updated before the next one runs
            kept=max(trace.kept_bytes(a, b, part, local=True) for a, b in inside),
            messages=received + (back * place if ends_here else mesh.queue * message + back),
        )
        seconds = trunk[place] + ends[place] + updates[place]
        ranks.append(Rank(parameters=sum(sizes), memory=memory, sent=sent, stages=inside, seconds=seconds))
        received = message
    step = sid(trunk, ends, updates, [rank.sent for rank in ranks], mesh.link, queue=mesh.queue, parts=parts)
    return _with_replicas(mesh, ranks, step)


def _pipelines(trace: Trace, speed: Speed, mesh: Mesh) -> dict[str, Forecast]:
    """Return 1F1B and ZB-H1, which hold the same memory."""
    count, pieces = mesh.micro_batches, trace.pieces
    micro = mesh.batch / mesh.data / count
    groups = assign([micro * each for each in speed.trunk], [0.0] * len(pieces), _links(trace, mesh, micro), mesh.ranks)
    forward, backward = ([micro * sum(seconds[a:b]) for a, b in groups] for seconds in (speed.forward, speed.backward))
    crossing = [micro * mesh.wire * trace.crossing[b - 1] for _, b in groups]
    ranks: list[Rank] = []
    for place, (a, b) in enumerate(groups):
        parameters = sum(piece.parameters for piece in pieces[a:b])
        under_way = min(count, mesh.ranks - place)
        fixed = trace.kept_bytes(a, b, 0, local=False)
        both_ways = crossing[place] + (crossing[place - 1] if place else 0.0)
        memory = holding(
            mesh,
            parameters,
            kept=fixed + under_way * (trace.kept_bytes(a, b, micro, local=False) - fixed),
            messages=2 * both_ways or micro * trace.samples.sample_bytes,  # activations and their gradients
        )
        ranks.append(Rank(parameters=parameters, memory=memory, sent=count * both_ways))
    updates = [mesh.update_bytes(rank.parameters) / speed.bandwidth for rank in ranks]
    shared = (forward, backward, updates, crossing, mesh.link)
    steps = {name: pipeline(*shared, micro_batches=count, zero_bubble=name == ZB_H1) for name in (ONE_F_ONE_B, ZB_H1)}
    return {name: _with_replicas(mesh, ranks, step) for name, step in steps.items()}


def _full_sharding(trace: Trace, speed: Speed, mesh: Mesh) -> Forecast:
    """Return full sharding (FSDP, ZeRO-3) over all N devices of the mesh, with all traffic behind the computation: its best case.

        T = max(compute, parts · (3 (N−1)/N · parameters / bandwidth + 3 · pieces · ⌈log₂ N⌉ · latency)) + update

    Parameters are gathered for the forward and again for the backward pass, gradients are reduced and scattered, piece by piece,
    for each part of the batch.
    """
    devices, pieces = mesh.devices, trace.pieces
    share, travels = trace.parameters / devices, mesh.wire * trace.parameters
    samples = ceil(mesh.batch / devices / mesh.parts)
    gathered = 2 * mesh.wire * max(piece.parameters for piece in pieces) if devices > 1 else 0.0  # one in use, one on its way
    memory = holding(mesh, share, kept=trace.kept_bytes(0, len(pieces), samples, local=False), messages=gathered)
    compute, work = (count * sum(speed.trunk) for count in (mesh.parts * samples, mesh.batch / devices))
    traffic = 3 * mesh.parts * len(pieces) * collective(travels / len(pieces), devices, mesh.link)
    update = mesh.update_bytes(share) / speed.bandwidth
    step = {WORK: work, "batch": compute - work, "update": update, "traffic": max(0.0, traffic - compute)}
    # No parameters whose gradients the replicas would sum: the traffic of the step has done that.
    whole = Rank(parameters=0, memory=memory, sent=3 * mesh.parts * (devices - 1) / devices * travels)
    return _with_replicas(replace(mesh, ranks=1, data=devices), [whole], step)


def _with_replicas(mesh: Mesh, ranks: Sequence[Rank], step: Step) -> Forecast:
    """Return the forecast, with the time in which its replicas sum the gradients of each rank's parameters."""
    gradients = FLOAT * max(rank.parameters for rank in ranks)
    if mesh.data > 1 and gradients:
        step = {**step, "gradients": 2 * collective(gradients, mesh.data, mesh.link)}
    return Forecast(mesh=mesh, ranks=tuple(ranks), step=step)


def _links(trace: Trace, mesh: Mesh, samples: float) -> list[float]:
    """Return the seconds that what crosses each point is on the link."""
    return [samples * mesh.wire * crossing / mesh.link.bandwidth for crossing in trace.crossing]
