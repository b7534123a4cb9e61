"""NoProp: the coefficients of its diffusions, what reaches whom, and the losses as the paper writes them."""

import math

import pytest
import torch
from torch import Tensor

from torchsid import check_locality
from torchsid.learners.noprop import NoProp
from torchsid.models.networks.noprop import NoPropNetwork, cosine_schedule, noprop, posterior, signal_to_noise

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(6) % 3


def network(**settings: object) -> NoPropNetwork:
    torch.manual_seed(0)
    return noprop(X, 3, **{"steps": 4, "width": 2, "norm": "layer", "dropout": 0.0, **settings}).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 2, 10, 300])
def test_a_step_of_inference_leads_from_one_marginal_to_the_next(steps: int) -> None:
    alpha_bar = cosine_schedule(steps)
    assert alpha_bar.shape == (steps + 1,)
    assert (alpha_bar.diff() > 0).all()
    assert 0 < alpha_bar[0] < 2e-3 < alpha_bar[-1] < 1
    before, after = alpha_bar[:-1], alpha_bar[1:]
    a, b, c = posterior(alpha_bar)
    torch.testing.assert_close(a + b * before.sqrt(), after.sqrt())
    torch.testing.assert_close(b.square() * (1 - before) + c, 1 - after)
    for t in range(steps):  # Bayes: q(z_t | z_{t−1}, u) ∝ q(z_{t−1} | z_t) q(z_t | u), a product of two Gaussians
        alpha = before[t] / after[t]
        precision = alpha / (1 - alpha) + 1 / (1 - after[t])
        torch.testing.assert_close(c[t], 1 / precision)
        torch.testing.assert_close(b[t], alpha.sqrt() / (1 - alpha) / precision)
        torch.testing.assert_close(a[t], after[t].sqrt() / (1 - after[t]) / precision)
    increases = signal_to_noise(alpha_bar).diff()
    assert (increases > 0).all()
    torch.testing.assert_close(increases.sum(), signal_to_noise(alpha_bar[-1]) - signal_to_noise(alpha_bar[0]))


def test_noise_is_added_to_the_label_as_often_as_there_are_embeddings() -> None:
    def f(s: float) -> float:
        return math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha_bar = cosine_schedule(10)
    torch.testing.assert_close(alpha_bar[1:], torch.tensor([f((11 - t) / 11) / f(0) for t in range(1, 11)], dtype=torch.float64))
    torch.testing.assert_close(alpha_bar[0], 0.001 * alpha_bar[1])


def test_the_losses_are_those_of_the_paper() -> None:
    module = network(embedding=7)
    learner, drawn = NoProp(module, eta=0.3), list[Tensor]()
    torch.manual_seed(5)
    out = learner.backward(X, TARGET)
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    torch.manual_seed(5)
    drawn = [torch.randn(6, 7, dtype=torch.float64) for _ in range(5)]
    module.zero_grad()
    w, alpha_bar, losses = module.embed.weight, module.alpha_bar, []
    snr = alpha_bar / (1 - alpha_bar)
    z_last = alpha_bar[4].sqrt() * w[TARGET] + (1 - alpha_bar[4]).sqrt() * drawn[0]
    cross_entropy = torch.nn.functional.cross_entropy(module.out(z_last), TARGET)
    u_0 = torch.distributions.Normal(alpha_bar[0].sqrt() * w[TARGET], (1 - alpha_bar[0]).sqrt().expand(6, 7))
    kl = torch.distributions.kl_divergence(u_0, torch.distributions.Normal(0.0, 1.0)).sum(-1).mean()
    for t in range(1, 5):
        z = alpha_bar[t - 1].sqrt() * w[TARGET] + (1 - alpha_bar[t - 1]).sqrt() * drawn[t]
        distances = ((module.blocks[t - 1](X, z).softmax(-1) @ w - w[TARGET]) ** 2).sum(-1)
        losses.append(cross_entropy + kl + 4 / 2 * 0.3 * (snr[t] - snr[t - 1]) * distances.mean())
    torch.stack(losses).sum().backward()
    torch.testing.assert_close(out.stage_losses, torch.stack(losses).detach())
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_the_loss_of_a_block_reaches_the_block_the_embedding_and_the_output_layer() -> None:
    module = network(embedding=7)
    learner = NoProp(module)
    assert "none of 12 ordered pairs" in str(check_locality(learner, X, TARGET))
    learner.backward(X, TARGET, scale=torch.tensor([0.0, 1.0, 0.0, 0.0]))
    reached = {name.split(".")[1] if name.startswith("blocks") else name for name, p in module.named_parameters() if p.grad.any()}
    assert reached == {"1", "embed.weight", "out.weight", "out.bias"}


def test_inference_is_the_same_for_a_sample_whatever_its_batch() -> None:
    module = network().eval()
    torch.testing.assert_close(module(X)[2:4], module(X[2:4]))
    assert torch.equal(module(X), module(X))


def test_images_are_read_by_convolutions_and_other_networks_refused() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert noprop(images, 5, steps=2, width=2)(images).shape == (2, 5)
    with pytest.raises(ValueError, match="image_size=3 must be 4 or more"):
        noprop(images[..., :3, :3], 5)
    with pytest.raises(ValueError, match="the network reads numbers, and a sample batch has tokens"):
        noprop(torch.zeros(2, 7, dtype=torch.long), 5)
    with pytest.raises(ValueError, match="steps=0: allowed is int, at least 1"):
        noprop(X, 5, steps=0)
    with pytest.raises(ValueError, match=r"not a Linear: set model.network = 'noprop'"):
        NoProp(torch.nn.Linear(3, 3))  # type: ignore[arg-type]
