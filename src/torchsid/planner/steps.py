"""How long a step takes, by formula: SID's pipeline, 1F1B, ZB-H1 and full sharding. Times in seconds, sizes in bytes.

Every function returns the step as parts that add up to it, so that the largest part beside the work tells what to change.
docs/planning.md derives the formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from torchsid.planner.devices import Link

WORK = "work"


@dataclass(frozen=True)
class Step:
    """One step of the whole batch, by where the time goes.

    `"work"` is forward and backward of the trunk, evenly on all devices; all other parts are losses.
    """

    parts: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The sum of the parts."""
        return sum(self.parts.values())

    @property
    def efficiency(self) -> float:
        """The share of the work."""
        return self.parts[WORK] / self.seconds

    @property
    def limit(self) -> str:
        """The largest loss; `"work"` when nothing is lost."""
        losses = {name: part for name, part in self.parts.items() if name != WORK}
        worst = max(losses, key=losses.__getitem__)
        return worst if losses[worst] > 1e-3 * self.seconds else WORK


def all_reduce(size: float, replicas: int, link: Link) -> float:
    """Return the time to sum gradients of `size` bytes over replicas: `2 (D−1)/D · size / bandwidth + 2 ⌈log₂ D⌉ · latency`."""
    return 2 * _collective(size, replicas, link)


def sid(
    trunk: Sequence[float], heads: Sequence[float], updates: Sequence[float], sent: Sequence[float], link: Link, *, queue: int
) -> Step:
    """Return the steady step of SID's pipeline, which no gradient travels back through.

        T = max(max_r compute_r, max_r sent_r / bandwidth, max_r (latency + sent_r / bandwidth) / queue)

    Args:
        trunk: forward and backward of each device's pieces.
        heads: forward and backward of its heads.
        updates: of its parameters.
        sent: bytes of the message that each device hands on; the last none.
        link: between neighbours.
        queue: messages that may be under way on a link.
    """
    devices = len(trunk)
    compute = [sum(parts) for parts in zip(trunk, heads, updates, strict=True)]
    slowest = max(compute)
    paced = max(slowest, *(size / link.bandwidth for size in sent))
    queued = max(paced, *(link.seconds(size) / queue for size in sent if size), 0.0)
    return Step(
        {
            WORK: sum(trunk) / devices,
            "heads": sum(heads) / devices,
            "update": sum(updates) / devices,
            "imbalance": slowest - sum(compute) / devices,
            "messages": paced - slowest,
            "latency": queued - paced,
        }
    )


def fill_seconds(step: Step, sent: Sequence[float], link: Link) -> float:
    """Return how long SID's pipeline takes once, at the start, until the last device has work."""
    return (len(sent) - 1) * step.seconds + sum(link.seconds(size) for size in sent[:-1])


def needed_queue(step_seconds: float, sent: Sequence[float], link: Link) -> int:
    """Return how many messages must be under way on a link to hide its latency: `⌈(latency + sent / bandwidth) / T⌉`."""
    return max((ceil(link.seconds(size) / step_seconds - 1e-9) for size in sent if size), default=1) or 1


@dataclass(frozen=True)
class MicroBatch:
    """What each device of a backpropagation pipeline needs for one micro-batch."""

    forward: Sequence[float]
    backward: Sequence[float]
    """Gradients of the inputs."""
    weights: Sequence[float]
    """Gradients of the weights."""
    sent: Sequence[float]
    """Bytes of activations handed on, and of gradients handed back; of the last device none."""

    @property
    def totals(self) -> list[float]:
        """Of each device."""
        return [sum(times) for times in zip(self.forward, self.backward, self.weights, strict=True)]


def one_f_one_b(micro: MicroBatch, updates: Sequence[float], link: Link, *, micro_batches: int) -> Step:
    """Return a step of 1F1B (arXiv 1806.03377, with a flush): `T = L_0 + (m−1) · max(max_k t_k, max_k L_k / (p−k))`.

    `t_k = F_k + B_k + W_k`; `L_k = Σ_{j≥k} t_j + 2 Σ_{k≤j<p−1} c_j` is the way of a micro-batch from device k to the last and
    back; device k has p−k of them under way; `c_j = latency + sent_j / bandwidth`. Even and with c = 0: `(m + p − 1) (F + B + W)`.
    """
    return _pipeline(micro, updates, link, micro_batches, micro.totals, 0.0)


def zb_h1(micro: MicroBatch, updates: Sequence[float], link: Link, *, micro_batches: int) -> Step:
    """Return a step of ZB-H1 (arXiv 2401.10241), which fills the bubble of 1F1B with gradients of weights, in the same memory.

    Even and with c = 0: `m (F + B + W) + (p − 1) (F + B − W)`, the paper's. With messages, `L_k` counts F and B alone.
    """
    back = [f + b for f, b in zip(micro.forward, micro.backward, strict=True)]
    return _pipeline(micro, updates, link, micro_batches, back, -2 * sum(micro.weights[1:]))


def _pipeline(
    micro: MicroBatch, updates: Sequence[float], link: Link, micro_batches: int, loop: Sequence[float], filled: float
) -> Step:
    """Return a step of either: `loop` is what a device adds to a micro-batch's round trip, `filled` what fills the bubble."""
    devices, totals = len(loop), micro.totals
    slowest, mean = max(totals), sum(totals) / devices
    hops = [link.seconds(size) for size in micro.sent[:-1]]

    def total(hops: Sequence[float]) -> float:
        trips = [(sum(loop[k:]) + 2 * sum(hops[k:])) / (devices - k) for k in range(devices)]
        way = sum(totals) + 2 * sum(hops) + filled + (micro_batches - 1) * max(slowest, *trips)
        return max(way, micro_batches * slowest)

    silent, alone = total(hops), total([0.0] * len(hops))
    paced = max(silent, micro_batches * max(size / link.bandwidth for size in micro.sent))
    return Step(
        {
            WORK: micro_batches * mean,
            "update": sum(updates) / devices,
            "imbalance": micro_batches * (slowest - mean) + max(updates) - sum(updates) / devices,
            "bubble": alone - micro_batches * slowest,
            "messages": paced - alone,
        }
    )


def full_sharding(compute: float, update: float, parameters: float, units: int, devices: int, link: Link) -> Step:
    """Return a step of full sharding (FSDP, ZeRO-3) with all traffic behind the computation, which is its best case.

        T = max(compute, 3 (N−1)/N · parameters / bandwidth + 3 · units · ⌈log₂ N⌉ · latency) + update

    Parameters are gathered for the forward and again for the backward pass, gradients are reduced and scattered.

    Args:
        compute: forward and backward of a device's samples through the whole model.
        update: of a device's share of the parameters.
        parameters: bytes that travel of all of them.
        units: how many parts are gathered one by one.
        devices: N.
        link: of each device.
    """
    traffic = 3 * units * _collective(parameters / units, devices, link)
    return Step({WORK: compute, "update": update, "traffic": max(0.0, traffic - compute)})


def _collective(size: float, devices: int, link: Link) -> float:
    """Return the time of an all-gather or a reduce-scatter that is bound by the link, in as few rounds as there can be."""
    return (devices - 1) / devices * size / link.bandwidth + ceil(log2(devices)) * link.latency
