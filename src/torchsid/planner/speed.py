"""How long each piece takes for a sample: from its operations, or measured on this machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.optim import SGD, AdamW

from torchsid.bench.recorder import BACKWARD, FORWARD, HEAD, UPDATE, sid_seconds
from torchsid.bench.steps import median_seconds
from torchsid.core.side_effects import threads
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Mesh, Precision
from torchsid.planner.model import ModelSpec, Trace, cut_everywhere

_SIDE = 1024  # of the matrices


@dataclass(frozen=True)
class Speed:
    """Seconds a sample of every piece, and of the head at its end, forward and backward; and how fast parameters are updated."""

    forward: Sequence[float]
    backward: Sequence[float]
    """Gradients of inputs and weights, half and half."""
    heads: Sequence[float]
    bandwidth: float
    """Bytes a second of an update."""

    @property
    def trunk(self) -> list[float]:
        """Forward and backward of every piece."""
        return [forward + backward for forward, backward in zip(self.forward, self.backward, strict=True)]


def on_paper(trace: Trace, mesh: Mesh, utilisation: float) -> Speed:
    """Return `FLOP / (peak · utilisation)`, with twice as many FLOP backward as forward: every product has two gradients."""
    rate = mesh.device.flops[mesh.precision] * utilisation / 2  # multiply-adds a second
    forward = [piece.operations / rate for piece in trace.pieces]
    heads = [3 * piece.head_operations / rate for piece in trace.pieces]
    return Speed(forward, [2 * seconds for seconds in forward], heads, mesh.device.bandwidth)


def measure(spec: ModelSpec, mesh: Mesh) -> Speed:
    """Train a model, cut at every point, on this machine's processor, of which each device has its share; medians of a few steps.

    Raises:
        ConfigError: the model cannot be built or cut.
    """
    samples = mesh.batch // mesh.data
    with torch.random.fork_rng(devices=[]), threads(max(torch.get_num_threads() // mesh.devices, 1)):
        cascade = cut_everywhere(spec, mesh.stages).train()
        x = torch.randn(samples, 3, spec.image_size, spec.image_size)
        target = torch.randint(spec.classes, (samples,))
        momentum = 0.9 if mesh.optimizer == "momentum" else 0.0
        optimizer = AdamW if mesh.optimizer == "adamw" else lambda parameters: SGD(parameters, momentum=momentum)
        with torch.autocast("cpu", torch.bfloat16, enabled=mesh.precision == "bfloat16"):
            pieces = sid_seconds(cascade, x, target, optimizer(cascade.parameters()))
    forward, backward, heads = ([piece[what] / samples for piece in pieces] for what in (FORWARD, BACKWARD, HEAD))
    updated = mesh.update_bytes(sum(map(torch.numel, cascade.parameters())))
    return Speed(forward, backward, heads, updated / sum(piece[UPDATE] for piece in pieces))


@cache  # so that all points of a sweep have the same device
def this_machine(devices: int, precision: Precision) -> Device:
    """Return one of so many equal parts of this machine's processor: FLOP/s of matrix products, memory, bandwidth of copies."""
    with threads(max(torch.get_num_threads() // devices, 1)):
        a = torch.rand(_SIDE, _SIDE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
        flops = 2 * _SIDE**3 / median_seconds(lambda: a @ a)
        block = torch.zeros(2**24)
        bandwidth = 2 * 4 * 2**24 / median_seconds(lambda: block.clone())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / devices
    return Device(MEASURED.name, dict.fromkeys(PRECISIONS, flops), memory, bandwidth)
