"""PEPITA against its equations."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.layers import Layered
from torchsid.learners.pepita import PEPITA

X = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 0, 1])
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5], dtype=torch.float64)


def network(*between: nn.Module) -> Layered:
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), *between, nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return Layered(nn.Sequential(*layers).double(), X)


def test_gradients_are_those_of_the_equations() -> None:
    learner = PEPITA(network(), feedback=0.5)
    out = learner.backward(X, TARGET, weight=WEIGHT)
    _, first, _, second, _, last = learner.module.model
    feedback, share, one_hot = learner.module.get_buffer("feedback").T, WEIGHT / WEIGHT.sum(), F.one_hot(TARGET, 3).double()
    assert 0.2 < feedback.abs().max() <= 0.5 * 1.5**0.5

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h_1 = (x @ first.weight.T + first.bias).relu()
        h_2 = (h_1 @ second.weight.T + second.bias).tanh()
        return h_1, h_2, (h_2 @ last.weight.T + last.bias).softmax(-1)

    with torch.no_grad():
        x = X.flatten(1)
        h_1, h_2, p = run(x)
        changed = x + (feedback @ (p - one_hot).T).T
        h_1_changed, h_2_changed, p_changed = run(changed)
        deltas = [h_1 - h_1_changed, h_2 - h_2_changed, p_changed - one_hot]
        torch.testing.assert_close(out.loss, -(share * p[torch.arange(5), TARGET].log()).sum())
    for layer, delta, h in zip((first, second, last), deltas, (changed, h_1_changed, h_2_changed), strict=True):
        torch.testing.assert_close(layer.weight.grad, (share.unsqueeze(1) * delta).T @ h)
        torch.testing.assert_close(layer.bias.grad, (share.unsqueeze(1) * delta).sum(0))


def test_without_feedback_hidden_layers_stand_still_whatever_dropout_draws() -> None:
    learner = PEPITA(network(nn.Dropout(0.5)), feedback=0.0)
    learner.backward(X, TARGET)
    *hidden, last_weight, last_bias = learner.module.parameters()
    assert not any(each.grad.any() for each in hidden)
    assert last_weight.grad.any()
    assert last_bias.grad.any()


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ([nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 3)], r"0 \(Conv2d\)"),
        ([nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)], r"2 \(BatchNorm1d\)"),
        ([nn.Linear(2, 2), nn.Flatten(), nn.Linear(4, 3)], r"0 \(Linear\)"),  # row by row
    ],
    ids=["convolution", "normalisation", "positions"],
)
def test_networks_that_are_not_of_linear_layers_are_refused(modules: list[nn.Module], named: str) -> None:
    x = X.unsqueeze(1) if isinstance(modules[0], nn.Conv2d) else X
    with pytest.raises(ValueError, match=f"PEPITA trains linear layers on vectors, and the network has {named}: take a perceptron"):
        PEPITA(Layered(nn.Sequential(*modules).double(), x))
