"""What holds for a while and leaves no trace: for teacher passes, checks and measurements beside training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def without_side_effects(module: nn.Module) -> Iterator[None]:
    """Restore on exit the module's buffers, `.grad` and train or eval modes, and the global random number generators.

    Inside, every `.grad` starts as None. A pass that is repeated after the block draws the same dropout masks, and running
    statistics (BatchNorm) count only the second one.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    modes = {part: part.training for part in module.modules()}
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    devices = {tensor.device.index for tensor in module.parameters() if tensor.device.type == "cuda"}
    for parameter in module.parameters():
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=sorted(index for index in devices if index is not None)):
            yield
    finally:
        for part, training in modes.items():
            part.training = training
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        for name, parameter in module.named_parameters():
            parameter.grad = gradients[name]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give PyTorch so many threads; afterwards it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
