"""What this machine does in a second: matrix products for a device without numbers, or the pieces of a model themselves."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim import Optimizer as TorchOptimizer

from torchsid.core.beliefs import to_log_belief
from torchsid.core.staged import StagedCascade
from torchsid.core.threads import threads
from torchsid.planner.devices import MEASURED, PRECISIONS, Device, Precision
from torchsid.planner.memory import Optimizer, update_seconds
from torchsid.planner.presets import ModelSpec
from torchsid.planner.speed import Speed
from torchsid.planner.trace import cut_everywhere

_SIDE = 1024  # of the matrices
_REPEATS = 5
_OPTIMIZERS: dict[Optimizer, Callable[[list[nn.Parameter]], TorchOptimizer]] = {
    "sgd": lambda parameters: SGD(parameters, lr=1e-3),
    "momentum": lambda parameters: SGD(parameters, lr=1e-3, momentum=0.9),
    "adamw": lambda parameters: AdamW(parameters, lr=1e-3),
}


def this_machine(devices: int, precision: Precision) -> Device:
    """Return one of so many equal parts of this machine's processor: FLOP/s of matrix products, memory, bandwidth of copies."""
    with _threads(devices):
        a = torch.rand(_SIDE, _SIDE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
        flops = 2 * _SIDE**3 / _seconds(lambda: a @ a)
        block = torch.zeros(2**24)
        bandwidth = 2 * 4 * 2**24 / _seconds(lambda: block.clone())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / devices
    return Device(MEASURED, dict.fromkeys(PRECISIONS, flops), memory, bandwidth)


def measure(
    spec: ModelSpec, *, stages: int, devices: int, samples: int, optimizer: Optimizer, precision: Precision = "float32"
) -> Speed:
    """Train the pieces of a model one by one on one of `devices` equal parts of this machine's processor; the median of a few runs.

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
        updaters = [
            _OPTIMIZERS[optimizer]([parameter for _, parameter in cascade.named_stage_parameters(stage)])
            for stage in range(cascade.depth)
        ]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            runs = [_train(cascade, x, updaters) for _ in range(1 + _REPEATS)][1:]
    forward, heads, backward, update = (
        [median(run[stage][part] for run in runs) / samples for stage in range(cascade.depth)] for part in range(4)
    )
    parameters = sum(parameter.numel() for parameter in cascade.parameters())
    return Speed(forward, backward, heads, update_seconds(parameters, optimizer, 1.0) / (samples * sum(update)))


def _train(cascade: StagedCascade, x: Tensor, updaters: list[TorchOptimizer]) -> list[list[float]]:
    """Return the seconds of each piece: forward, its head forward and backward, backward, update."""
    seconds: list[list[float]] = []
    log_belief, began = cascade.prior(x), 0.0

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        nonlocal log_belief, began
        times = [began, perf_counter()]
        features = tensors[0].detach().requires_grad_()
        logits = cascade.heads[stage](features, log_belief)
        answer = to_log_belief(logits.detach())
        logits.backward((answer.exp() / len(x)).to(logits.dtype))
        times.append(perf_counter())
        torch.autograd.backward([tensors[0]], [features.grad])
        times.append(perf_counter())
        updaters[stage].step()
        updaters[stage].zero_grad()
        times.append(perf_counter())
        seconds.append([after - before for before, after in pairwise(times)])
        log_belief, leaves = answer, [tensor.detach().requires_grad_() for tensor in tensors]
        began = perf_counter()
        return leaves

    began = perf_counter()
    cascade.run(x, close)
    return seconds


def _seconds(run: Callable[[], object]) -> float:
    """Return the median time of a call that has been warmed up."""
    times = []
    for _ in range(1 + _REPEATS):
        began = perf_counter()
        run()
        times.append(perf_counter() - began)
    return median(times[1:])


def _threads(devices: int) -> AbstractContextManager[None]:
    """Give PyTorch one of so many shares of its threads."""
    return threads(max(torch.get_num_threads() // devices, 1))
