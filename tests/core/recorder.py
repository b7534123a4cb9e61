"""A recorder for the processor that does as CUDA graphs do: it records kernels with the tensors that they were called with.

What a step reads in Python is lost on it; what waits for the device, or comes from the host while it records, is an error.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torchsid.core import pitfalls
from torchsid.core.capture import CudaGraphs

T = TypeVar("T")
_aten = torch.ops.aten
WAITS = {
    _aten._local_scalar_dense,
    _aten.nonzero,
    _aten.masked_select,
    _aten.equal,
    _aten.is_nonzero,
    _aten.unique_dim,
    _aten._unique2,
}


class Recording(TorchDispatchMode):
    """Records every operation, and undoes on exit what they wrote to tensors that were there before."""

    def __init__(self) -> None:
        super().__init__()
        tensors = [each for each in gc.get_objects() if type(each) in (Tensor, nn.Parameter) and each.layout is torch.strided]
        tensors += [each.grad for each in tensors if type(each) is nn.Parameter and each.grad is not None]
        self.known = {each.untyped_storage().data_ptr() for each in tensors}
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in WAITS:
            raise RuntimeError(f"{func} waits for the device while the stream is capturing")
        if func is _aten.lift_fresh.default:  # made of a number in Python: no harm as long as it stays on the host
            return func(*args, **kwargs)
        for tensor in tensors_in((args, kwargs)):
            if tensor.untyped_storage().data_ptr() not in self.known:
                raise RuntimeError(f"{func} copies from the host while the stream is capturing")
        for tensor in written(func, args, kwargs):
            whole = tensor.detach().as_strided((tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
            self.before.setdefault(tensor.untyped_storage().data_ptr(), (whole, whole.clone()))
        results = func(*args, **kwargs)
        asked_for = any(each.name == "device" for each in func._schema.arguments) and not tensors_in((args, kwargs))
        if asked_for and kwargs.get("device") is None:  # made on the host, where no device is named
            return results
        self.known |= {each.untyped_storage().data_ptr() for each in tensors_in(results)}
        self.operations.append((func, args, kwargs, results))
        return results

    def undo(self) -> None:
        for tensor, before in self.before.values():
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, results in self.operations:
            if func.is_view:
                continue
            again = func(*args, **kwargs)
            if not any(each.alias_info for each in func._schema.returns):  # else it has written to an argument
                for recorded, result in zip(tensors_in(results), tensors_in(again), strict=True):
                    recorded.detach().copy_(result)


class ProcessorGraphs:
    """Records on the processor; see `torchsid.core.capture.Recorder`."""

    def __init__(self) -> None:
        self.recorded = self.replays = 0

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        yield

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], object]]:
        recording = Recording()
        random = torch.get_rng_state()
        try:
            with recording, patch.object(pitfalls, "is_captured", lambda: True):
                result = function()
        finally:
            torch.set_rng_state(random)
            with torch.no_grad():
                recording.undo()
        self.recorded += 1

        def replay() -> None:
            self.replays += 1
            recording.replay()

        return result, replay


class CountedCudaGraphs(CudaGraphs):
    """The real ones."""

    recorded = replays = 0

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], object]]:
        result, replay = super().record(function)
        self.recorded += 1

        def counted() -> None:
            self.replays += 1
            replay()

        return result, counted


def tensors_in(values: object) -> list[Tensor]:
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    found = []
    for i, argument in enumerate(func._schema.arguments):
        unsaid = argument.name in ("running_mean", "running_var")  # as native_batch_norm does
        if unsaid or (argument.alias_info is not None and argument.alias_info.is_write):
            found += tensors_in(args[i] if i < len(args) else kwargs.get(argument.name))
    return found
