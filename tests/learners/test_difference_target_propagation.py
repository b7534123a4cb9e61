"""Difference target propagation against its equations; with exact inverses targets are those of Gauss-Newton."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.layers import Layered
from torchsid.learners.difference_target_propagation import DifferenceTargetPropagation

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0, 1])
ONE_HOT = F.one_hot(TARGET, 3).double()
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5], dtype=torch.float64)


def perceptron(*widths: int, activation: Callable[[], nn.Module] = nn.Tanh) -> Layered:
    torch.manual_seed(0)
    hidden = (
        part for before, after in zip((4, *widths), widths, strict=False) for part in (nn.Linear(before, after), activation())
    )
    return Layered(nn.Sequential(*hidden, nn.Linear(widths[-1], 3)).double(), X)


def test_gradients_are_those_of_the_equations() -> None:
    learner = DifferenceTargetPropagation(perceptron(6, 5, 7), target_step=0.4, noise=0.3)
    torch.manual_seed(1)
    learner.backward(X, TARGET, weight=WEIGHT)
    f_1, f_2, f_3, last = (layer[0] for layer in learner.module.layers)
    (g_2, _), (g_3, _) = learner.inverses
    share = (WEIGHT / WEIGHT.sum()).unsqueeze(1)
    torch.manual_seed(1)
    noise_1, noise_2 = (0.3 * torch.randn(5, width, dtype=torch.float64) for width in (6, 5))
    with torch.no_grad():
        h_1 = f_1(X).tanh()
        h_2 = f_2(h_1).tanh()
        h_3 = f_3(h_2).tanh()
        e = last(h_3).softmax(-1) - ONE_HOT
        target_3 = h_3 - 0.4 * e @ last.weight
        target_2 = h_2 - g_3(h_3).tanh() + g_3(target_3).tanh()
        target_1 = h_1 - g_2(h_2).tanh() + g_2(target_2).tanh()
        after_2, after_3 = f_2(h_1 + noise_1).tanh(), f_3(h_2 + noise_2).tanh()
        back_1, back_2 = g_2(after_2).tanh(), g_3(after_3).tanh()
        deltas = {
            f_1: (2 * (h_1 - target_1) * (1 - h_1**2), X),
            f_2: (2 * (h_2 - target_2) * (1 - h_2**2), h_1),
            f_3: (2 * (h_3 - target_3) * (1 - h_3**2), h_2),
            last: (e, h_3),
            g_2: (2 * (back_1 - h_1 - noise_1) * (1 - back_1**2), after_2),
            g_3: (2 * (back_2 - h_2 - noise_2) * (1 - back_2**2), after_3),
        }
    for layer, (delta, inputs) in deltas.items():
        torch.testing.assert_close(layer.weight.grad, (share * delta).T @ inputs)
        torch.testing.assert_close(layer.bias.grad, (share * delta).sum(0))


class Exact(nn.Module):
    """The inverse of a square linear layer with an activation of slope 1/2 below zero."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, h: Tensor) -> Tensor:
        a = torch.where(h > 0, h, 2 * h)
        return torch.linalg.solve(self.linear.weight, (a - self.linear.bias).T).T


def test_exact_inverses_give_the_targets_of_gauss_newton() -> None:
    learner = DifferenceTargetPropagation(perceptron(4, 4, 4, activation=lambda: nn.LeakyReLU(0.5)), target_step=1e-6)
    layers = learner.module.layers
    for i, layer in enumerate(layers[1:-1]):
        learner.module.get_submodule("inverses")[i] = Exact(layer[0])
    with torch.no_grad():
        h_1 = layers[0](X)
        h_2 = layers[1](h_1)
        h_3 = layers[2](h_2)
        e = layers[-1](h_3).softmax(-1) - ONE_HOT
        target_1, target_2, target_3 = learner.targets([h_1, h_2, h_3], e)
        torch.testing.assert_close(layers[1](target_1), target_2)  # plain target propagation
        torch.testing.assert_close(layers[2](target_2), target_3)
    for sample in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda h: layers[2](layers[1](h)), h_1[sample])
        expected = -1e-6 * torch.linalg.solve(jacobian, e[sample] @ layers[-1][0].weight)
        torch.testing.assert_close(target_1[sample] - h_1[sample], expected, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 2])
def test_inverses_have_the_activation_of_the_layer_below_and_no_dropout(depth: int) -> None:
    modules = [nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.5)] + [nn.Linear(4, 4), nn.Sigmoid()] * (depth - 1)
    learner = DifferenceTargetPropagation(Layered(nn.Sequential(*modules, nn.Linear(4, 3)).double(), X))
    assert [[type(part) for part in g] for g in learner.inverses] == [[nn.Linear, nn.ReLU]] * (depth - 1)
    learner.backward(X, TARGET)
    assert all(parameter.grad is not None for parameter in learner.module.parameters())
