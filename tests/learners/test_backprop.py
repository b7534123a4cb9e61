"""Methods that differentiate the whole network: backpropagation, and deep supervision of a cascade."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cut.classifiers import classifier, cut, images
from tests.networks import (
    CLASSES,
    INPUTS,
    assert_same_gradients,
    gradients,
    normed_cascade,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import Backprop, Cascade
from torchsid.learners.deep_supervision import DeepSupervision


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [small_batch()[1], rows()], ids=["classes", "rows"])
@pytest.mark.parametrize("make", [small_cascade, staged_cascade, lambda: nn.Linear(INPUTS, CLASSES).double()])
def test_gradients_are_those_of_the_cross_entropy(make: type[nn.Module], target: Tensor, label_smoothing: float) -> None:
    module, (x, _) = make(), small_batch()
    expected = copy.deepcopy(module)
    F.cross_entropy(expected(x), target, label_smoothing=label_smoothing).backward()
    Backprop(module, label_smoothing=label_smoothing).backward(x, target)
    assert_same_gradients(module, gradients(expected), 1e-10)


def test_backpropagation_through_a_staged_cascade_is_that_of_its_model() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    model = classifier("mlp")
    for module in (cascade, model):
        Backprop(module).backward(x, target)
    assert_same_gradients(cascade.model, gradients(model), 1e-12)


@pytest.mark.parametrize("scale", [[1.0] * 4, [0.0, 2.0, 1.0, -0.5]], ids=["even", "scaled"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("make", [small_cascade, lambda: small_cascade(stage="residual"), normed_cascade, staged_cascade])
def test_losses_and_gradients_are_autograds(make: Callable[[], Cascade], smoothing: float, scale: list[float]) -> None:
    """Of the whole chain, nothing detached."""
    cascade, other, (x, _), scales = make(), make(), small_batch(), torch.tensor(scale, dtype=torch.float64)
    other.load_state_dict(cascade.state_dict())
    features, p, losses = other.extractor(x), torch.full((len(x), CLASSES), 1 / CLASSES, dtype=x.dtype), []
    for stage in other.stages:
        features, logits = stage(features, p.log())
        p = logits.softmax(-1)
        losses.append(F.kl_div(p.log(), (1 - smoothing) * rows() + smoothing / CLASSES, reduction="batchmean"))
    (scales * torch.stack(losses)).mean().backward()
    out = DeepSupervision(cascade, label_smoothing=smoothing).backward(x, rows(), scale=scales)
    assert_same_gradients(cascade, gradients(other), 1e-12)
    torch.testing.assert_close(out.stage_losses, torch.stack(losses).detach(), atol=1e-12, rtol=1e-12)


def test_a_staged_cascade_has_deep_supervision_by_another_name() -> None:
    with pytest.raises(ValueError, match=r"SID\(cascade, window=cascade\.depth\)"):
        DeepSupervision(cut("mlp"))
