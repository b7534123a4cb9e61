"""Feedback alignment and sign symmetry: with the weights themselves on the way back they are backpropagation."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.networks import assert_same_gradients, gradients
from torchsid import Backprop
from torchsid.learners.feedback_alignment import FeedbackAlignment
from torchsid.learners.sign_symmetry import SignSymmetry

X = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(6) % 3


class Residual(nn.Module):
    """A network with a shortcut and convolutions with strides and groups, which is no sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).tanh()
        logits: Tensor = self.last((h + self.second(h).tanh()).mean((2, 3)))
        return logits


def network() -> nn.Module:
    torch.manual_seed(0)
    return Residual().double()


def test_through_the_weights_themselves_it_is_backpropagation() -> None:
    learner, reference = FeedbackAlignment(network()), Backprop(network())
    for feedback, layer in zip(learner.module.feedback, learner.module.layers, strict=True):
        feedback.copy_(layer.weight.detach())
    out, expected = learner.backward(X, TARGET), reference.backward(X, TARGET)
    torch.testing.assert_close(out.loss, expected.loss)
    assert_same_gradients(learner.module.model, gradients(reference.module), 1e-12)


def test_errors_go_back_through_the_random_weights_alone() -> None:
    learner = FeedbackAlignment(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double())
    x, (first, _, last) = torch.randn(5, 3, dtype=torch.float64), learner.module.model
    learner.backward(x, TARGET[:5])
    with torch.no_grad():
        h = first(x).tanh()
        e = (last(h).softmax(-1) - nn.functional.one_hot(TARGET[:5], 3)) / 5
        delta = (e @ learner.module.feedback[0]) * (1 - h**2)
    torch.testing.assert_close(last.weight.grad, e.T @ h)
    torch.testing.assert_close(first.weight.grad, delta.T @ x)


@pytest.mark.parametrize("magnitudes", ["uniform", "batchwise", "fixed"])
def test_signs_are_those_of_the_weights_at_every_step(magnitudes: str) -> None:
    learner = SignSymmetry(network(), magnitudes=magnitudes)
    before = [weight.clone() for weight in learner.weights_back()]
    for layer in learner.module.layers:
        layer.weight.data.neg_()
    after = learner.weights_back()
    assert all(torch.equal(back.sign(), layer.weight.sign()) for back, layer in zip(after, learner.module.layers, strict=True))
    same = [torch.equal(one, -other) for one, other in zip(before, after, strict=True)]
    assert same == [magnitudes != "batchwise"] * 2


def test_networks_that_errors_cannot_go_back_through_are_refused_with_their_weights_named() -> None:
    with pytest.raises(ValueError, match="in_proj_weight"):
        FeedbackAlignment(nn.TransformerEncoderLayer(8, 2))
    with pytest.raises(ValueError, match="Linear has 1"):
        FeedbackAlignment(nn.Linear(3, 3))


def test_the_network_is_left_as_it_was() -> None:
    learner, x = FeedbackAlignment(network()), X[:2]
    expected = copy.deepcopy(learner.module)(x)
    learner.backward(X, TARGET)
    assert torch.equal(learner.module(x), expected)
    assert not any("forward" in vars(layer) for layer in learner.module.layers)
