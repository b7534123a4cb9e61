import weakref
from collections.abc import Callable

import pytest
import torch
from tests.networks import INPUTS, TrunkStage, small_batch, small_cascade, staged_cascade
from torch import Tensor, nn

from torchsid import SID, Backprop


def peak_kept_bytes(step: Callable[[], object]) -> int:
    """The largest number of bytes that autograd holds for backward at any moment of a step."""
    live = peak = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal live, peak
            self.tensor = tensor
            size = tensor.numel() * tensor.element_size()
            live += size
            peak = max(peak, live)
            weakref.finalize(self, release, size)

    def release(size: int) -> None:
        nonlocal live
        live -= size

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step()
    assert live == 0
    return peak


@pytest.mark.parametrize("make", [small_cascade, staged_cascade], ids=["shared", "cut trunk"])
@pytest.mark.parametrize("schedule", ["streaming", "two_phase"])
def test_kept_bytes_do_not_grow_with_depth(schedule: str, make: Callable[[int], nn.Module]) -> None:
    x, target = small_batch()
    shallow, deep = (peak_kept_bytes(lambda d=d: SID(make(d), schedule=schedule).backward(x, target)) for d in (4, 64))
    assert shallow > 0
    assert deep == pytest.approx(shallow, rel=0.05)


@pytest.mark.parametrize("make", [small_cascade, staged_cascade], ids=["shared", "cut trunk"])
def test_the_kept_bytes_of_backpropagation_do_grow(make: Callable[[int], nn.Module]) -> None:
    x, target = small_batch()
    shallow, deep = (peak_kept_bytes(lambda d=d: Backprop(make(d)).backward(x, target)) for d in (4, 64))
    assert deep > 8 * shallow


def test_everything_runs_once() -> None:
    cascade = small_cascade(5)
    calls: list[nn.Module] = []
    for module in (cascade.extractor, *cascade.stages):
        module.register_forward_hook(lambda module, *_: calls.append(module))
    SID(cascade, schedule="streaming").backward(*small_batch())
    assert calls == [cascade.extractor, *cascade.stages]


def test_inputs_that_require_a_gradient_get_one() -> None:
    x, target = small_batch()
    x.requires_grad_()
    SID(small_cascade()).backward(x, target)
    assert x.grad is not None
    assert x.grad.shape == (len(x), INPUTS)
    assert x.grad.any()


def test_a_frozen_trunk_stage_does_not_stop_the_later_ones() -> None:
    cascade = staged_cascade(3)
    assert isinstance(cascade.stages[1], TrunkStage)
    cascade.stages[1].requires_grad_(False)
    SID(cascade).backward(*small_batch())
    assert [any(p.grad is not None for p in stage.parameters()) for stage in cascade.stages] == [True, False, True]
