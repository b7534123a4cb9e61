"""What holds for a while and leaves no trace: for teacher passes, checks and measurements beside training."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

_BOOKKEEPING = vars(nn.Module()).keys() - {"_non_persistent_buffers_set"}  # parameters, hooks, submodules: every module has these
_CONTAINERS = (list, tuple, set, deque, dict, OrderedDict, defaultdict)


@contextmanager
def without_side_effects(module: nn.Module) -> Iterator[None]:
    """Restore on exit the module's buffers, plain attributes, `.grad` and modes, and the global random number generators.

    Inside, every `.grad` starts as None, and copies stand for the buffers and for the tensors and containers that attributes hold:
    what a forward pass changes, replaces or makes anew is forgotten with them. A pass that is repeated after the block draws the
    same dropout masks, and running statistics (BatchNorm) count only the second one. Parameters and submodules stay as they are
    left inside.
    """
    parts = [(part, part.training, _attributes(part), dict(part._buffers.items())) for part in module.modules()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    devices = {tensor.device.index for tensor in module.parameters() if tensor.device.type == "cuda"}
    copies: dict[int, Any] = {}
    for part, _, attributes, buffers in parts:
        _fill(vars(part), {name: _copied(value, copies) for name, value in attributes.items()})
        _fill(part._buffers, {name: _copied(value, copies) for name, value in buffers.items()})
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=sorted(index for index in devices if index is not None)):
            yield
    finally:
        for part, training, attributes, buffers in parts:
            for name in (*(_attributes(part).keys() - attributes.keys()), *(part._buffers.keys() - buffers.keys())):
                delattr(part, name)
            _fill(vars(part), attributes)
            _fill(part._buffers, buffers)
            part.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _attributes(part: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(part).items() if name not in _BOOKKEEPING}


def _fill(held: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():  # one by one: a scripted module's buffers are no dictionary
        held[name] = value


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """Return a copy of a tensor, or of a container and what it holds, the same one whoever shares it; anything else as it is."""
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        copies[id(value)] = value.detach().clone().requires_grad_(value.requires_grad)
    elif type(value) in _CONTAINERS:
        copies[id(value)] = found = copy(value)
        if isinstance(found, dict):
            _fill(found, {name: _copied(each, copies) for name, each in value.items()})
        elif isinstance(found, list | deque):
            for place, each in enumerate(value):
                found[place] = _copied(each, copies)
        elif isinstance(found, tuple):
            copies[id(value)] = tuple(_copied(each, copies) for each in value)
    return copies.get(id(value), value)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give PyTorch so many threads; afterwards it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
