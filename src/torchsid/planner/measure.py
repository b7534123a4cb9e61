"""What this machine does in a second: matrix products for a device without numbers, or the pieces of a model themselves."""

import os
from contextlib import AbstractContextManager

import torch
from torch.optim import SGD, AdamW, Optimizer

from torchsid.bench.pieces import HEAD, sid_seconds
from torchsid.bench.recorder import BACKWARD, FORWARD, UPDATE
from torchsid.bench.turns import median_seconds
from torchsid.core.side_effects import threads
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Precision
from torchsid.planner.memory import Optimizer as OptimizerName
from torchsid.planner.memory import update_seconds
from torchsid.planner.presets import ModelSpec
from torchsid.planner.speed import Speed
from torchsid.planner.trace import cut_everywhere

_SIDE = 1024  # of the matrices


def this_machine(devices: int, precision: Precision) -> Device:
    """Return one of so many equal parts of this machine's processor: FLOP/s of matrix products, memory, bandwidth of copies."""
    with _threads(devices):
        a = torch.rand(_SIDE, _SIDE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
        flops = 2 * _SIDE**3 / median_seconds(lambda: a @ a)
        block = torch.zeros(2**24)
        bandwidth = 2 * 4 * 2**24 / median_seconds(lambda: block.clone())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / devices
    return Device(MEASURED, dict.fromkeys(PRECISIONS, flops), memory, bandwidth)


def measure(
    spec: ModelSpec, *, stages: int, devices: int, samples: int, optimizer: OptimizerName, precision: Precision = "float32"
) -> Speed:
    """Train a model, cut at every point, on one of `devices` equal parts of this machine's processor; medians of a few steps.

    Args:
        spec: which model.
        stages: of the cascade, which set what a head may cost.
        devices: how many share the processor.
        samples: of a batch.
        optimizer: that updates.
        precision: `"bfloat16"` is autocast.

    Raises:
        ConfigError: the model cannot be built or cut.
    """
    with torch.random.fork_rng(devices=[]), _threads(devices):
        cascade = cut_everywhere(spec, stages).train()
        x = torch.randn(samples, 3, spec.image_size, spec.image_size)
        target = torch.randint(spec.classes, (samples,))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            pieces = sid_seconds(cascade, x, target, _new(optimizer, cascade))
    forward, backward, heads = ([piece[what] / samples for piece in pieces] for what in (FORWARD, BACKWARD, HEAD))
    bytes_a_second = update_seconds(sum(map(torch.numel, cascade.parameters())), optimizer, 1.0)
    return Speed(forward, backward, heads, bytes_a_second / sum(piece[UPDATE] for piece in pieces))


def _new(optimizer: OptimizerName, module: torch.nn.Module) -> Optimizer:
    if optimizer == "adamw":
        return AdamW(module.parameters(), lr=1e-3)
    return SGD(module.parameters(), lr=1e-3, momentum=0.9 if optimizer == "momentum" else 0.0)


def _threads(devices: int) -> AbstractContextManager[None]:
    """Give PyTorch one of so many shares of its threads."""
    return threads(max(torch.get_num_threads() // devices, 1))
