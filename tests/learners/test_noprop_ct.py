"""NoProp in continuous time: the schedule's slopes, the flow, and the loss as the paper writes it."""

import pytest
import torch
from torch import nn

from torchsid.learners.noprop_ct import NoPropCT
from torchsid.models.networks.noprop_ct import NoiseSchedule, NoPropCTNetwork, noprop_ct

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(6) % 3


def network(**settings: object) -> NoPropCTNetwork:
    torch.manual_seed(0)
    return noprop_ct(X, 3, **{"width": 2, "norm": "layer", "dropout": 0.0, **settings}).double()  # type: ignore[arg-type]


def restless_schedule() -> NoiseSchedule:
    torch.manual_seed(1)
    schedule = NoiseSchedule().double()
    for parameter in (schedule.v, schedule.w, schedule.c):
        parameter.data.normal_(std=8)
    return schedule


def test_the_schedule_rises_from_end_to_end_and_tells_its_slope() -> None:
    schedule, t = restless_schedule(), torch.linspace(0, 1, 101, dtype=torch.float64)
    with torch.no_grad():
        gamma, slope = schedule(t)
        torch.testing.assert_close(gamma[[0, -1]], torch.tensor([5.0, -4.0], dtype=torch.float64))
        assert ((-gamma).sigmoid().diff() > 0).all()
        after, before = (schedule(t[1:-1] + step)[0] for step in (1e-5, -1e-5))
        torch.testing.assert_close((after - before) / 2e-5, slope[1:-1], rtol=1e-6, atol=1e-6)
        increase = -slope * (-gamma).exp()  # SNR′
        torch.testing.assert_close(((-after).exp() - (-before).exp()) / 2e-5, increase[1:-1], rtol=1e-6, atol=1e-6)
        assert slope.std() > 1  # it is no straight line


def test_the_flow_leads_from_one_marginal_to_the_next_where_the_block_is_right() -> None:
    errors = []
    for steps in (500, 1000):
        module = network(steps=steps)
        module.out = nn.Identity()
        last = module.block.decides[-1]
        last.weight.data.zero_()
        last.bias.data.copy_(torch.tensor([0.0, 200.0, 0.0]))  # û is the second class
        u = module.embed.weight[1]
        with torch.no_grad():
            (first, end), _ = module.schedule(torch.tensor([0.0, 1.0], dtype=torch.float64))
            noise = -(-first).sigmoid().sqrt() * u / first.sigmoid().sqrt()  # of which 0 is made
            expected = (-end).sigmoid().sqrt() * u + end.sigmoid().sqrt() * noise
            errors.append(float((module(X[:1]) - expected).abs().max()))
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)  # Euler's method is of first order


def test_the_loss_is_that_of_the_paper() -> None:
    module = network(embedding=7)
    torch.manual_seed(5)
    out = NoPropCT(module, eta=0.3).backward(X, TARGET)
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    torch.manual_seed(5)
    t = torch.rand(6, dtype=torch.float64)
    drawn, drawn_last = (torch.randn(6, 7, dtype=torch.float64) for _ in range(2))
    u = module.embed.weight[TARGET]
    times = torch.cat([t, torch.tensor([0.0, 1.0])]).requires_grad_()
    gamma = module.schedule(times)[0]
    snr = gamma.sigmoid().reciprocal() - 1  # ᾱ / (1 − ᾱ)
    (increase,) = torch.autograd.grad(snr.sum(), times, create_graph=True)
    alpha_bar = snr / (1 + snr)
    z = alpha_bar[:6, None].sqrt() * u + (1 - alpha_bar[:6, None]).sqrt() * drawn
    clean = module.denoise(module.block.reads(X), z, t).softmax(-1) @ module.embed.weight
    z_last = alpha_bar[7].sqrt() * u + (1 - alpha_bar[7]).sqrt() * drawn_last
    start = torch.distributions.Normal(alpha_bar[6].sqrt() * u, (1 - alpha_bar[6]).sqrt())
    kl = torch.distributions.kl_divergence(start, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    denoising = 0.3 / 2 * increase[:6] * ((clean - u) ** 2).sum(-1)
    loss = torch.nn.functional.cross_entropy(module.out(z_last), TARGET) + (kl + denoising).mean()
    loss.backward()
    torch.testing.assert_close(out.loss, loss.detach())
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not a Linear: set model.network = 'noprop-ct'"):
        NoPropCT(nn.Linear(3, 3))  # type: ignore[arg-type]
