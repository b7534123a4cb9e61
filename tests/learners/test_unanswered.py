"""SigProp, HSIC bottleneck and SoftHebb: hidden layers that learn without an answer of their own."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchsid import Layered, check_locality
from torchsid.core.rule import LayerRule
from torchsid.learners.hsic_bottleneck import HSICBottleneck, dependence, normalised_kernel
from torchsid.learners.sigprop import SigProp
from torchsid.learners.softhebb import SoftHebb

CLASSES = 3
X = torch.randn(7, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(7) % CLASSES
EACH = torch.ones(7, dtype=torch.bool)


def network() -> Layered:
    torch.manual_seed(0)
    hidden = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 6), nn.Tanh()]
    return Layered(nn.Sequential(*hidden, nn.Linear(6, CLASSES)).double(), X[:2])


def own_gradients(learner: LayerRule, layer: int) -> list[Tensor | None]:
    return [parameter.grad for _, parameter in learner.module.named_stage_parameters(layer)]


@pytest.mark.parametrize("method", [HSICBottleneck, SigProp, SoftHebb])
def test_layers_learn_alone_and_the_last_one_from_the_cross_entropy(method: type[LayerRule]) -> None:
    learner = method(network())
    assert check_locality(learner, X, TARGET).stages == 4
    out = learner.backward(X, TARGET)
    *hidden, last = copy.deepcopy(learner.module.layers)
    h = X
    for layer in hidden:
        h = layer(h).detach()
    last.zero_grad()
    loss = nn.functional.cross_entropy(last(h), TARGET)
    loss.backward()
    torch.testing.assert_close(out.stage_losses[-1], loss.detach())
    torch.testing.assert_close(own_gradients(learner, 3), [parameter.grad for parameter in last.parameters()])


def test_sigprop_compares_each_sample_with_the_targets_of_all() -> None:
    """By products of all samples with all targets, of which those of the same class are no negatives."""
    learner = SigProp(network())
    out = learner.backward(X, TARGET)
    own = learner.module
    h, t = X, own.get_submodule("target")(torch.eye(CLASSES, dtype=X.dtype)[TARGET])  # one for each sample
    same = (TARGET.unsqueeze(1) == TARGET).double()
    same /= same.sum(1, keepdim=True)
    parts = [own.get_submodule("target"), *own.layers[:3]]
    for i, layer in enumerate(own.layers[:-1]):
        h, t = layer(h.detach()), t if i == 0 else layer(t.detach())
        positions = 1 if h.dim() == 2 else h[0, 0].numel()
        products = torch.einsum("in,jn->ij", h.flatten(1), t.flatten(1)) / positions
        loss = nn.functional.cross_entropy(products, same)
        names = list(own.layers[i].parameters()) + (list(parts[0].parameters()) if i == 0 else [])
        torch.testing.assert_close([parameter.grad for parameter in names], list(torch.autograd.grad(loss, names)))
        often = same.gt(0).sum(1).double().log().mean()  # the entropy of the samples that belong to one
        torch.testing.assert_close(out.stage_losses[i], (loss - often).detach())


def plain_kernel(u: np.ndarray, sigma: float) -> np.ndarray:
    m, d = u.shape
    distances = ((u[:, None] - u[None]) ** 2).sum(2)
    centred = np.exp(-distances / (2 * (sigma * np.sqrt(d)) ** 2)) @ (np.eye(m) - np.ones((m, m)) / m)
    found: np.ndarray = centred @ np.linalg.inv(centred + 1e-5 * m * np.eye(m))
    return found


def test_dependence_is_that_of_a_plain_computation() -> None:
    a, b = X.flatten(1), torch.eye(CLASSES, dtype=X.dtype)[TARGET]
    found = dependence(normalised_kernel(a, 5.0, EACH), normalised_kernel(b, 5.0, EACH))
    plain = np.trace(plain_kernel(a.numpy(), 5.0) @ plain_kernel(b.numpy(), 5.0))
    assert float(found) == pytest.approx(float(plain), rel=1e-9)
    torch.testing.assert_close(normalised_kernel(3 * a, 15.0, EACH), normalised_kernel(a, 5.0, EACH))
    torch.testing.assert_close(normalised_kernel(torch.cat([a, a], 1), 5.0, EACH), normalised_kernel(a, 5.0, EACH))
    some = torch.arange(7) % 3 != 0
    part = normalised_kernel(a, 5.0, some)
    torch.testing.assert_close(part[some][:, some], normalised_kernel(a[some], 5.0, EACH[:4]))
    assert not part[~some].any()
    assert not part[:, ~some].any()


def test_gradients_of_the_dependence_are_finite_differences() -> None:
    other = normalised_kernel(torch.eye(CLASSES, dtype=X.dtype)[TARGET], 2.0, EACH)
    h = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda h: dependence(normalised_kernel(h, 2.0, EACH), other), h)


def test_the_loss_of_a_layer_of_the_hsic_bottleneck() -> None:
    learner = HSICBottleneck(network(), sigma=2.0, balance=7.0)
    out = learner.backward(X, TARGET)
    h = learner.module.layers[0](X)
    of_h, of_x, of_y = (normalised_kernel(u, 2.0, EACH) for u in (h, X, torch.eye(CLASSES, dtype=X.dtype)[TARGET]))
    loss = dependence(of_h, of_x) - 7.0 * dependence(of_h, of_y)
    torch.testing.assert_close(out.stage_losses[0], loss.detach())
    parameters = list(learner.module.layers[0].parameters())
    torch.testing.assert_close(own_gradients(learner, 0), list(torch.autograd.grad(loss, parameters)))


def test_a_step_of_softhebb_is_that_of_the_equations() -> None:
    learner = SoftHebb(network(), sharpness=0.7, radius=2.0)
    learner.backward(X, TARGET, weight=(counts := torch.tensor([1.0, 0, 2, 1, 1, 3, 1], dtype=X.dtype)))
    h = X
    with torch.no_grad():
        for layer in learner.module.layers[:-1]:
            mixing, behind = next((m, layer[i + 1 :]) for i, m in enumerate(layer) if hasattr(m, "weight"))
            weight = mixing.weight.flatten(1)
            patches = h.unsqueeze(2) if h.dim() == 2 else nn.functional.unfold(h, 3)  # [B, n, positions]
            change = torch.zeros_like(weight)
            for count, sample in zip(counts, patches, strict=True):
                for x in sample.T:
                    u = weight @ x
                    y = (0.7 * u).softmax(0)
                    y = torch.where(u == u.max(), y, -y)
                    change += count * (y.unsqueeze(1) * x - (y * u).unsqueeze(1) * weight)
            rate = (weight.norm(dim=1, keepdim=True) - 1).abs().sqrt()
            torch.testing.assert_close(mixing.weight.grad, -(rate * change / change.abs().max()).view_as(mixing.weight))
            assert mixing.bias.grad is None
            assert not mixing.bias.any()
            h = behind(mixing(h))


def test_units_of_softhebb_move_to_the_means_of_clusters() -> None:
    torch.manual_seed(0)
    means = nn.functional.normalize(torch.randn(4, 16), dim=1)
    network = Layered(nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 4)), torch.zeros(2, 16))
    learner = SoftHebb(network, sharpness=4.0, radius=2.0)
    weight = network.layers[0][0].weight
    weight.data = 2 * nn.functional.normalize(means + 0.25 * torch.randn(4, 16), dim=1)
    before = nn.functional.cosine_similarity(weight.detach(), means)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        classes = torch.randint(4, (64,))
        learner.backward(means[classes] + 0.05 * torch.randn(64, 16), classes)
        optimizer.step()
    after = nn.functional.cosine_similarity(weight.detach(), means)
    assert float(before.max()) < 0.9
    assert float(after.min()) > 0.98
    torch.testing.assert_close(weight.detach().norm(dim=1), torch.ones(4), atol=0.1, rtol=0)


def test_layers_in_which_no_units_compete_are_named() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="SoftHebb trains linear layers and convolutions of images, and layer 1 is another"):
        SoftHebb(Layered(model, torch.zeros(1, 2, 2)))
