"""How long a step takes, by formula: SID's pipeline, 1F1B and ZB-H1. Times in seconds, sizes in bytes.

Every function returns the step as parts that add up to it, so that the largest part beside the work tells what to change.
docs/planning.md derives the formulas.
"""

from collections.abc import Mapping, Sequence
from math import ceil, log2

from torchsid.planner.devices import Link

WORK = "work"
Step = Mapping[str, float]
"""Seconds by where they go: `"work"` is forward and backward of the trunk, evenly on all devices; all other parts are losses."""


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
    return {
        WORK: sum(trunk) / devices,
        "heads": sum(heads) / devices,
        "update": sum(updates) / devices,
        "imbalance": slowest - sum(compute) / devices,
        "messages": paced - slowest,
        "latency": queued - paced,
    }


def fill_seconds(step_seconds: float, sent: Sequence[float], link: Link) -> float:
    """Return how long SID's pipeline takes once, at the start, until the last device has work."""
    return (len(sent) - 1) * step_seconds + sum(link.seconds(size) for size in sent[:-1])


def needed_queue(step_seconds: float, sent: Sequence[float], link: Link) -> int:
    """Return how many messages must be under way on a link to hide its latency: `⌈(latency + sent / bandwidth) / T⌉`."""
    return max((ceil(link.seconds(size) / step_seconds - 1e-9) for size in sent if size), default=1) or 1


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

    Args:
        forward: of each device, for one micro-batch.
        backward: likewise.
        updates: of its parameters, once a step.
        sent: bytes of activations handed on, and of gradients handed back, for one micro-batch; of the last device none.
        link: between neighbours.
        micro_batches: m.
        zero_bubble: which of the two.
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
