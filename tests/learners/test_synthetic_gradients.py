"""Synthetic gradients against their equations; where the synthesisers tell the truth it is backpropagation."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks import assert_same_gradients, gradients
from torchsid import Backprop
from torchsid.core.layers import Layered
from torchsid.learners.synthetic_gradients import SyntheticGradients

X = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0, 1])
ONE_HOT = F.one_hot(TARGET, 3).double()
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5], dtype=torch.float64)


def network() -> Layered:
    torch.manual_seed(0)
    middle = (nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 6), nn.Tanh())
    return Layered(nn.Sequential(*middle, nn.Linear(6, 3)).double(), X)


class Truth(nn.Module):
    """The gradient of each sample's loss, by the layers above."""

    def __init__(self, above: nn.Module, shape: torch.Size) -> None:
        super().__init__()
        self.above, self.shape = [above], shape  # no submodule

    def forward(self, h: Tensor, target: Tensor) -> Tensor:
        h = h.view(len(h), *self.shape).requires_grad_()
        loss = F.cross_entropy(self.above[0](h), target, reduction="sum")
        return torch.autograd.grad(loss, h)[0].flatten(1)


def test_with_the_true_gradients_it_is_backpropagation() -> None:
    learner, reference = SyntheticGradients(network()), Backprop(network())
    layers, synthesisers = learner.module.layers, learner.module.get_submodule("synthesisers")
    for i in range(2):
        synthesisers[i] = Truth(nn.Sequential(*layers[i + 1 :]), learner.module.sizes[i + 1])
    out, expected = (each.backward(X, TARGET, weight=WEIGHT) for each in (learner, reference))
    torch.testing.assert_close(out.loss, expected.loss)
    assert_same_gradients(learner.module, gradients(reference.module), 1e-12)


@pytest.mark.parametrize("condition", ["none", "target"])
def test_every_synthesiser_learns_what_the_next_one_makes_arrive(condition: Literal["none", "target"]) -> None:
    learner = SyntheticGradients(network(), condition=condition, synthesiser_width=4, synthesiser_layers=2)
    layers, synthesisers = learner.module.layers, learner.module.get_submodule("synthesisers")
    for each in synthesisers.parameters():
        nn.init.normal_(each)
    learner.backward(X, TARGET, weight=WEIGHT, scale=0.5)
    found = gradients(learner.module)
    learner.module.zero_grad()
    share, below = WEIGHT / WEIGHT.sum(), X
    for i, layer in enumerate(layers[:-1]):
        h = layer(below)
        above = h.detach().requires_grad_()
        after = layers[i + 1](above)
        last = i + 1 == len(layers) - 1
        sent = after.softmax(-1) - ONE_HOT if last else synthesisers[i + 1](after.flatten(1), ONE_HOT)
        (arrived,) = torch.autograd.grad(after, above, sent.detach().view_as(after))
        predicted = synthesisers[i](above.detach().flatten(1), ONE_HOT)
        (0.5 * (share * (predicted - arrived.flatten(1)).square().sum(1)).sum()).backward()
        h.backward(0.5 * (share.unsqueeze(1) * predicted.detach()).view_as(h))
        below = h.detach()
    (0.5 * (share * F.cross_entropy(layers[-1](below), TARGET, reduction="none")).sum()).backward()
    assert_same_gradients(learner.module, found, 1e-12)


def test_before_the_first_step_the_layers_below_are_told_nothing() -> None:
    learner = SyntheticGradients(network())
    learner.backward(X, TARGET)
    moved = {name for name, gradient in gradients(learner.module).items() if gradient is not None and gradient.any()}
    assert moved == {"model.5.weight", "model.5.bias", "synthesisers.1.behind.1.weight", "synthesisers.1.behind.1.bias"}


@pytest.mark.parametrize("condition", ["none", "target"])
def test_the_target_is_read_where_a_synthesiser_is_conditioned(condition: Literal["none", "target"]) -> None:
    synthesiser = SyntheticGradients(network(), condition=condition).module.get_submodule("synthesisers")[1]
    nn.init.ones_(synthesiser.behind[-1].weight)
    h = torch.randn(1, 6, dtype=torch.float64)
    first, second = (synthesiser(h, each.unsqueeze(0)) for each in ONE_HOT[:2])
    assert torch.equal(first, second) == (condition == "none")
