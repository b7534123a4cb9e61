"""Forward-Forward: its gradients are those of the equations, its false labels are false, and it answers as it says."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid import Layered, check_locality
from torchsid.learners.forward_forward import ForwardForward, false_classes

CLASSES, WIDTHS = 3, (16, 14, 15)
X = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(6) % CLASSES


def network() -> Layered:
    torch.manual_seed(0)
    layers, inputs = list[nn.Module]([nn.Flatten()]), 6
    for width in WIDTHS:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return Layered(nn.Sequential(*layers, nn.Linear(inputs, CLASSES)).double(), X[:2])


def labelled(label: Tensor) -> Tensor:
    return torch.cat([label.double().expand(len(X), -1), X.flatten(1)[:, CLASSES:]], 1)


def activities(learner: ForwardForward, label: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What each layer reads, and makes of it."""
    found, h = [], labelled(label)
    for layer in learner.module.layers:
        x = h / (h.square().mean(1, keepdim=True).sqrt() + 1e-8)
        linear = next(module for module in layer if isinstance(module, nn.Linear))
        h = linear(x).relu()
        found.append((x.detach(), h.detach()))
    return found


@pytest.mark.parametrize("peers", [False, True], ids=["alone", "with peers"])
def test_gradients_are_those_of_the_equations(peers: bool) -> None:
    learner, weight = ForwardForward(network()), torch.tensor([1.0, 0, 2, 1, 1, 3], dtype=torch.float64)
    nn.init.normal_(learner.module.head.weight)  # so that false labels are drawn by something
    for i, width in enumerate(WIDTHS):
        learner.module.get_buffer(f"mean_activity_{i}").copy_(torch.rand(width) if peers else torch.full((width,), 0.5))
    before = [learner.module.get_buffer(f"mean_activity_{i}").clone() for i in range(3)]
    share = (weight / weight.sum()).unsqueeze(1)
    torch.manual_seed(1)
    out = learner.backward(X, TARGET, weight=weight)
    torch.manual_seed(1)
    true = F.one_hot(TARGET, CLASSES)
    false = F.one_hot(false_classes(learner.module.answer(X).detach(), true.double()), CLASSES)
    layers = zip(activities(learner, true), activities(learner, false), strict=True)
    for i, ((x, h), (x_false, h_false)) in enumerate(layers):
        p, p_false = ((each.square().sum(1, keepdim=True) - WIDTHS[i]).sigmoid() for each in (h, h_false))
        pull = 0.03 * (before[i].mean() - before[i])
        up = (share * (2 * (1 - p) * h + pull)).T @ x
        down = (share * (2 * p_false * h_false)).T @ x_false
        linear = next(module for module in learner.module.layers[i] if isinstance(module, nn.Linear))
        torch.testing.assert_close(linear.weight.grad, down - up)
        torch.testing.assert_close(out.stage_losses[i], -(share * (p.log() + (1 - p_false).log())).sum())
        after = learner.module.get_buffer(f"mean_activity_{i}")
        torch.testing.assert_close(after, 0.9 * before[i] + 0.1 * (share * h).sum(0))
    neutral = activities(learner, torch.full((CLASSES,), 1 / CLASSES, dtype=X.dtype))[1:]
    read = torch.cat([h / (h.square().mean(1, keepdim=True).sqrt() + 1e-8) for _, h in neutral], 1)
    e = share * (learner.module.head(read).softmax(-1) - true)
    torch.testing.assert_close(learner.module.head.weight.grad, e.T @ read)
    torch.testing.assert_close(learner.module(X), learner.module.head(read))


def test_false_labels_are_never_the_true_ones_and_hard_ones_come_oftener() -> None:
    torch.manual_seed(0)
    target = F.one_hot(torch.arange(3000) % CLASSES, CLASSES).double()
    sure = false_classes(500 * target, target)  # of the true class, as a head soon is
    assert not target.gather(1, sure.unsqueeze(1)).any()
    logits = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(3000, 3)
    of_first = false_classes(logits, target)[::3]
    assert float((of_first == 2).double().mean()) == pytest.approx(float(torch.tensor(1.0).sigmoid()), abs=0.05)


def test_by_goodness_it_answers_with_the_label_of_the_largest_sum_without_the_first_layer() -> None:
    learner = ForwardForward(network(), inference="goodness")
    each = [sum(h.square().sum(1) for _, h in activities(learner, label)[1:]) for label in torch.eye(CLASSES)]
    torch.testing.assert_close(learner.module(X), torch.stack(each, 1))


def test_no_goodness_reaches_another_layer() -> None:
    assert check_locality(ForwardForward(network()), X, TARGET).stages == len(WIDTHS) + 1


def test_what_is_no_deep_perceptron_is_refused() -> None:
    conv = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
    says = "has other layers, Conv2d; has one hidden layer, where two are the least; reads 1 numbers, of which the label takes 3"
    with pytest.raises(ValueError, match=says):
        ForwardForward(Layered(conv, torch.zeros(1, 1, 1, 1)))
