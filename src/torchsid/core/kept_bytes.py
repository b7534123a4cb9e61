"""Bytes kept for backward: what autograd holds on to between a forward and its backward pass."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn


class _Ledger:
    """Counts the storages that live graphs hold, each once, and remembers the peak."""

    def __init__(self) -> None:
        self.holders: Counter[int] = Counter()
        self.live = 0
        self.peak = 0

    def hold(self, pointer: int, size: int) -> None:
        if self.holders[pointer] == 0:
            self.live += size
            self.peak = max(self.peak, self.live)
        self.holders[pointer] += 1

    def release(self, pointer: int, size: int) -> None:
        self.holders[pointer] -= 1
        if self.holders[pointer] == 0:
            self.live -= size


class _Saved:
    """A tensor saved by a graph; gone when the graph lets go of it."""

    def __init__(self, tensor: Tensor, pointer: int, ledger: _Ledger) -> None:
        self.tensor, self.pointer, self.ledger = tensor, pointer, ledger
        self.size = tensor.untyped_storage().nbytes()
        ledger.hold(self.pointer, self.size)

    def __del__(self) -> None:
        self.ledger.release(self.pointer, self.size)


def kept_bytes(module: nn.Module, step: Callable[[], object]) -> int:
    """Return the largest number of bytes that graphs hold at any moment of `step()`.

    Saved tensors are counted once a storage, parameters and buffers of the module not at all. What a hand-written gradient keeps
    outside autograd is not seen.

    Args:
        module: the network that the step runs.
        step: runs forward and backward.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    ledger = _Ledger()

    def pack(tensor: Tensor) -> _Saved | Tensor:
        pointer = tensor.untyped_storage().data_ptr()  # fails for the fake tensors of a compiler before anything is held
        return tensor if pointer in own else _Saved(tensor, pointer, ledger)

    def unpack(saved: _Saved | Tensor) -> Tensor:
        return saved.tensor if isinstance(saved, _Saved) else saved

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        step()
    return ledger.peak
