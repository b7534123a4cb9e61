from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.networks import CLASSES, FEATURES, INPUTS, assert_same_gradients, gradients, normed_cascade, small_batch, small_cascade
from torch import nn

from torchsid import SID, Cascade, Stage
from torchsid.core.schedules import mlp_stack
from torchsid.core.schedules.combine import Mean
from torchsid.heads import MLPHead


def applies(cascade: Cascade) -> bool:
    x, _ = small_batch(next(cascade.parameters()).dtype)
    return mlp_stack.applies(mlp_stack.heads_of(cascade), cascade.extractor(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stage", ["plain", "residual"])
def test_it_applies_to_the_papers_heads(stage: str, dtype: torch.dtype) -> None:
    assert applies(small_cascade(stage=stage).to(dtype))


class Subclass(MLPHead):
    pass


def with_other_linear(cascade: Cascade) -> Cascade:
    cascade.stages[1].head.output = nn.utils.parametrizations.weight_norm(cascade.stages[1].head.output)
    return cascade


def with_hook(cascade: Cascade, of: Callable[[Cascade], nn.Module]) -> Cascade:
    of(cascade).register_forward_hook(lambda *_: None)
    return cascade


@pytest.mark.parametrize(
    "cascade",
    [
        pytest.param(normed_cascade, id="a head of another class"),
        pytest.param(lambda: Cascade(nn.Linear(INPUTS, FEATURES), [Stage(Subclass(FEATURES, CLASSES))], CLASSES), id="a subclass"),
        pytest.param(lambda: with_other_linear(small_cascade()), id="a layer of another class"),
        pytest.param(lambda: with_hook(small_cascade(), lambda c: c.stages[1].head.hidden), id="a hook on a layer"),
        pytest.param(lambda: with_hook(small_cascade(), lambda c: c.stages[1].head), id="a hook on a head"),
        pytest.param(lambda: with_hook(small_cascade(), lambda c: c.stages[1]), id="a hook on a stage"),
        pytest.param(lambda: small_cascade().bfloat16(), id="half precision"),
    ],
)
def test_it_does_not_apply(cascade: Callable[[], Cascade]) -> None:
    assert not applies(cascade())


def test_it_does_not_apply_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(small_cascade().float())


def test_it_does_not_apply_to_features_that_are_no_vectors() -> None:
    assert not mlp_stack.applies(mlp_stack.heads_of(small_cascade()), torch.randn(3, FEATURES, 2, dtype=torch.float64))


def test_hooks_on_a_stage_run() -> None:
    calls: list[nn.Module] = []
    cascade = small_cascade(3)
    cascade.stages[1].register_forward_hook(lambda stage, *_: calls.append(stage))
    SID(cascade, schedule="batched").backward(*small_batch())
    assert cascade.stages[1] in calls


def test_nothing_is_handed_to_the_combiner_for_an_extractor_that_does_not_learn() -> None:
    cascade = small_cascade(extractor=nn.Linear(INPUTS, FEATURES).requires_grad_(False))
    combiner = Mean()
    step = replace(SID(cascade).new_step(*small_batch()), combiner=combiner)
    mlp_stack.differentiate(step, mlp_stack.heads_of(cascade), cascade.extractor(step.x))
    assert combiner._count == 0
    assert all(parameter.grad is not None for parameter in cascade.stages.parameters())


def test_the_block_is_a_matter_of_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    x, target = small_batch()
    cascade = small_cascade(5)
    learner = SID(cascade, schedule="batched", direction="reverse", label_smoothing=0.1)
    learner.backward(x, target)
    expected = gradients(cascade)
    for block in (1, 2, 5, 64):
        monkeypatch.setattr(mlp_stack, "BLOCK", block)
        cascade.zero_grad()
        learner.backward(x, target)
        assert_same_gradients(cascade, expected, 1e-12)


def test_no_graph_is_built() -> None:
    saved: list[torch.Tensor] = []
    cascade = small_cascade(extractor=nn.Identity())
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        SID(cascade, schedule="batched").backward(*small_batch())
    assert saved == []
