"""Layers that learn from answers of their own: each is a classifier with one hidden layer on what the layer before it makes."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.networks import gradients
from torchsid import Layered, check_locality
from torchsid.core.answering import AnsweringRule
from torchsid.learners.cafo import CaFo
from torchsid.learners.deeper_forward import DeeperForward
from torchsid.learners.mono_forward import MonoForward

CLASSES = 3
X = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(6) % CLASSES


def convolutional() -> Layered:
    """Maps of 6 channels and, behind a pooling, of 12, a linear layer of 6, and the last one."""
    torch.manual_seed(0)
    first = [nn.Conv2d(2, 6, 3, bias=False), nn.ReLU()]
    second = [nn.Conv2d(6, 12, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return Layered(nn.Sequential(*first, *second, nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double(), X[:2])


RULES: dict[str, Callable[[], AnsweringRule]] = {
    "cafo": lambda: CaFo(convolutional()),
    "deeper-forward": lambda: DeeperForward(convolutional()),
    "mono-forward": lambda: MonoForward(convolutional()),
}
every_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)


@every_rule
def test_every_layer_alone_is_a_classifier_with_one_hidden_layer(make: Callable[[], AnsweringRule]) -> None:
    learner, x = make(), X
    out = learner.backward(X, TARGET)
    network = copy.deepcopy(learner.module)
    network.zero_grad()
    for loss, layer, readout in zip(out.stage_losses, network.layers, network.readouts, strict=True):
        expected = nn.functional.cross_entropy(readout(layer(x)), TARGET)
        torch.testing.assert_close(loss, expected.detach())
        if expected.requires_grad:
            expected.backward()
        x = layer(x).detach()
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(learner.module.get_parameter(name).grad, gradient)


@every_rule
def test_no_answer_reaches_another_layer(make: Callable[[], AnsweringRule]) -> None:
    learner = make()
    assert check_locality(learner, X, TARGET).stages == learner.module.depth == 3


@pytest.mark.parametrize(("together", "first"), [("last", 1), ("goodness", 1), ("goodness", 2), ("beliefs", 1), ("beliefs", 2)])
def test_answers_together(together: str, first: int) -> None:
    network = RULES["mono-forward"]().module
    network.together, network.first = together, first  # type: ignore[assignment]
    h, own = X, list[Tensor]()
    for layer, readout in zip(network.layers, network.readouts, strict=True):
        h = layer(h)
        own.append(readout(h))
    from_first = torch.stack(own[first - 1 :])
    expected = {"last": own[-1].softmax(-1), "goodness": from_first.sum(0).softmax(-1), "beliefs": from_first.softmax(-1).mean(0)}
    torch.testing.assert_close(network(X).softmax(-1), expected[together])
    torch.testing.assert_close(network.log_beliefs(X)[1].exp(), own[0].softmax(-1))


def test_gradients_of_mono_forward_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    x = torch.randn(6, 4, dtype=torch.float64)
    learner = MonoForward(Layered(model.double(), x))
    learner.backward(x, TARGET)
    projections = [learner.module.readouts[0][1].weight, model[4].weight]
    for linear, projection, bias in ((model[0], projections[0], 0.0), (model[2], projections[1], model[4].bias)):
        with torch.no_grad():
            a = linear(x).relu()
            e = ((a @ projection.T + bias).softmax(-1) - nn.functional.one_hot(TARGET, CLASSES)) / len(x)
            delta = (e @ projection) * (a > 0)
        torch.testing.assert_close(projection.grad, e.T @ a)
        torch.testing.assert_close(linear.weight.grad, delta.T @ x)
        torch.testing.assert_close(linear.bias.grad, delta.sum(0))
        x = a


def test_cafo_is_logistic_regression_on_what_random_blocks_make() -> None:
    learner = CaFo(convolutional())
    before = copy.deepcopy(learner.module.layers.state_dict())
    features, h = list[Tensor](), X
    for block in learner.module.layers:
        features.append((h := block(h)).flatten(1))
    plain = [torch.zeros(CLASSES, each.shape[1], dtype=each.dtype) for each in features]
    for readout in learner.module.readouts:
        nn.init.zeros_(readout[-1].weight)
    bias, one_hot = learner.module.readouts[-1][-1].bias, nn.functional.one_hot(TARGET, CLASSES)
    nn.init.zeros_(bias)
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.1)
    offset = torch.zeros_like(bias)
    for _ in range(5):
        optimizer.zero_grad()
        learner.backward(X, TARGET)
        optimizer.step()
        for i, each in enumerate(features):
            e = ((each @ plain[i].T + (offset if i == 2 else 0)).softmax(-1) - one_hot) / len(X)
            plain[i] -= 0.1 * e.T @ each
            offset -= 0.1 * e.sum(0) if i == 2 else 0
    for readout, expected in zip(learner.module.readouts, plain, strict=True):
        torch.testing.assert_close(readout[-1].weight.detach(), expected)
    torch.testing.assert_close(bias.detach(), offset)
    torch.testing.assert_close(learner.module.layers.state_dict(), before, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in learner.module.layers.parameters())
    both = zip(features, plain, (0, 0, offset), strict=True)
    torch.testing.assert_close(learner.module(X).softmax(-1), sum((h @ v.T + b).softmax(-1) for h, v, b in both) / 3)


def test_deeper_forward_has_the_goodness_and_the_gradients_of_the_equations() -> None:
    learner, network = DeeperForward(convolutional(), first_layer=2), convolutional()
    out = learner.backward(X, TARGET)
    x, told = X, list[Tensor]()
    for i, layer in enumerate(network.layers[:-1]):
        y = layer(x)
        flat = y.flatten(1).unflatten(1, (CLASSES, -1))  # [B, C, n / C · space]
        told.append(flat.mean(2))
        e = (told[-1].softmax(-1) - nn.functional.one_hot(TARGET, CLASSES)) / len(X)
        (flat * (e / flat.shape[2]).detach().unsqueeze(2)).sum().backward()
        torch.testing.assert_close(out.stage_losses[i], nn.functional.cross_entropy(told[-1], TARGET).detach())
        normed = (flat - flat.mean(2, keepdim=True)) / (flat.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
        x = normed.view_as(y).detach()
    own = [parameter.grad for parameter in learner.module.parameters()]
    torch.testing.assert_close(own, [parameter.grad for layer in network.layers[:-1] for parameter in layer.parameters()])
    torch.testing.assert_close(learner.module(X).softmax(-1), (told[1] + told[2]).softmax(-1))


def test_channels_that_cannot_be_shared_out_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), nn.ReLU(), nn.Linear(3, CLASSES)).double()
    with pytest.raises(ValueError, match=r"layer 1 has 4 channels of 36; layer 2 has 3 channels of 1; give .* a multiple of 3"):
        DeeperForward(Layered(model, X))
    with pytest.raises(ValueError, match="from layer 4 on, and the network has 3"):
        DeeperForward(convolutional(), first_layer=4)


def test_what_answers_once_or_not_in_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="MonoForward trains two layers or more, and the network has one"):
        MonoForward(Layered(nn.Sequential(nn.Linear(4, 2)), torch.zeros(1, 4)))
    with pytest.raises(ValueError, match=r"not a Linear: give Layered\(model, example\)"):
        MonoForward(nn.Linear(4, 2))  # type: ignore[arg-type]
