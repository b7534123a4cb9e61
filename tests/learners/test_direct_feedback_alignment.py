"""Direct feedback alignment and random target projection against their equations, and against backpropagation."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks import assert_same_gradients, gradients
from torchsid import Backprop
from torchsid.core.layers import Layered
from torchsid.learners.direct_feedback_alignment import DirectFeedbackAlignment
from torchsid.learners.direct_random_target_projection import DirectRandomTargetProjection

TARGET = torch.arange(6) % 3
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 1.0], dtype=torch.float64)
SHARE = (WEIGHT / WEIGHT.sum()).unsqueeze(1)
ONE_HOT = F.one_hot(TARGET, 3).double()


def network(*modules: nn.Module, inputs: tuple[int, ...]) -> tuple[Layered, Tensor]:
    x = torch.randn(6, *inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Layered(nn.Sequential(*modules).double(), x), x


@pytest.mark.parametrize("method", [DirectFeedbackAlignment, DirectRandomTargetProjection])
def test_gradients_of_a_perceptron_are_those_of_the_equations(method: type[DirectFeedbackAlignment]) -> None:
    torch.manual_seed(0)
    layers, x = network(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 7), nn.Sigmoid(), nn.Linear(7, 3), inputs=(4,))
    learner = method(layers)
    learner.backward(x, TARGET, weight=WEIGHT)
    first, _, second, _, last = layers.model
    b_1, b_2 = learner.module.get_buffer("feedback_0"), learner.module.get_buffer("feedback_1")
    assert b_1.abs().max() <= method.gain * 5**-0.5 < 2 * b_1.abs().max()
    with torch.no_grad():
        h_1 = first(x).tanh()
        h_2 = second(h_1).sigmoid()
        e = (last(h_2).softmax(-1) - ONE_HOT) * SHARE
        sent = e if method is DirectFeedbackAlignment else ONE_HOT * SHARE
        delta_1, delta_2 = (sent @ b_1) * (1 - h_1**2), (sent @ b_2) * h_2 * (1 - h_2)
    for layer, delta, h in [(first, delta_1, x), (second, delta_2, h_1), (last, e, h_2)]:
        torch.testing.assert_close(layer.weight.grad, delta.T @ h)
        torch.testing.assert_close(layer.bias.grad, delta.sum(0))


def test_the_error_arrives_behind_the_pooling_of_a_convolution() -> None:
    torch.manual_seed(0)
    modules = (nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3))
    layers, x = network(*modules, inputs=(1, 6, 6))
    learner = DirectFeedbackAlignment(layers)
    learner.backward(x, TARGET)
    convolution, *_, last = modules
    with torch.no_grad():
        a = convolution(x)  # [6, 2, 4, 4]
        h, where = F.max_pool2d(a.relu(), 2, return_indices=True)
        e = (last(h.flatten(1)).softmax(-1) - ONE_HOT) / 6
        arriving = (e @ learner.module.get_buffer("feedback_0")).view(6, 2, 4)
        delta = torch.zeros(6, 2, 16).double().scatter_(2, where.flatten(2), arriving).view_as(a) * (a > 0)
        patches = F.unfold(x, 3)  # [6, 9, 16]
    torch.testing.assert_close(convolution.weight.grad, torch.einsum("bop,bkp->ok", delta.flatten(2), patches).view(2, 1, 3, 3))


def test_through_the_last_layer_itself_it_is_backpropagation() -> None:
    torch.manual_seed(0)
    layers, x = network(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), inputs=(4,))
    learner = DirectFeedbackAlignment(layers)
    layers.get_buffer("feedback_0").copy_(layers.model[-1].weight.detach())
    learner.backward(x, TARGET, weight=WEIGHT)
    found = gradients(layers)
    layers.zero_grad()
    Backprop(layers).backward(x, TARGET, weight=WEIGHT)
    assert_same_gradients(layers, found, 1e-12)


def test_a_frozen_layer_is_passed_over() -> None:
    layers, x = network(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3), inputs=(4,))
    layers.layers[0].requires_grad_(False)
    DirectFeedbackAlignment(layers).backward(x, TARGET)
    assert [each.grad is None for each in layers.parameters()] == [True, True, False, False, False, False]
