"""Peak memory: what autograd keeps for backward, what PyTorch allocates on CUDA, what the whole process has."""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from torchsid.core.allocator import give_back_freed_memory

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak, so that runs that share a process do not report each other's; without effect where that is not possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    give_back_freed_memory()
    with suppress(OSError):
        _CLEAR.write_text("5")  # the peak; see proc_pid_clear_refs(5)


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the peak since the last reset in MiB; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def kept_bytes(module: nn.Module, step: Callable[[], object]) -> int:
    """Return the largest number of bytes that graphs hold between forward and backward at any moment of `step()`.

    Saved tensors are counted once a storage, parameters and buffers of the module not at all. What a hand-written gradient keeps
    outside autograd is not seen.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    holders: Counter[int] = Counter()  # of each storage
    live = peak = 0

    class Saved:
        """A tensor saved by a graph; gone when the graph lets go of it."""

        def __init__(self, tensor: Tensor, pointer: int) -> None:
            nonlocal live, peak
            self.tensor, self.pointer, self.size = tensor, pointer, tensor.untyped_storage().nbytes()
            live += 0 if holders[pointer] else self.size
            holders[pointer] += 1
            peak = max(peak, live)

        def __del__(self) -> None:
            nonlocal live
            holders[self.pointer] -= 1
            live -= 0 if holders[self.pointer] else self.size

    def pack(tensor: Tensor) -> Saved | Tensor:
        pointer = tensor.untyped_storage().data_ptr()  # fails for the fake tensors of a compiler before anything is held
        return tensor if pointer in own else Saved(tensor, pointer)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor if isinstance(saved, Saved) else saved):
        step()
    return peak
