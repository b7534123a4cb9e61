"""Equilibrium propagation: the free phase finds a minimum, and its estimates tend to the gradient there as β tends to 0."""

import pytest
import torch
from torch import Tensor

from torchsid.learners.equilibrium_propagation import EquilibriumPropagation
from torchsid.models.networks.hopfield import HopfieldNetwork, hopfield

X = torch.rand(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(7) % 3


def network(steps: int = 150) -> HopfieldNetwork:
    torch.manual_seed(0)
    made = hopfield(X, 3, width=6, hidden_layers=2, steps=steps).double()
    for layer in made.layers:
        layer.bias.data.fill_(0.2)
        layer.weight.data.mul_(0.4)  # so that most units settle soon, and between 0 and 1
    return made


def gradient(variant: str, beta: float) -> Tensor:
    module = network()
    learner = EquilibriumPropagation(module, variant=variant, beta=beta, nudged_steps=150)  # type: ignore[arg-type]
    learner.backward(X, TARGET)
    return torch.cat([parameter.grad.flatten() for parameter in module.parameters()])


def test_the_free_phase_descends_the_energy_to_a_minimum() -> None:
    module = network()
    with torch.no_grad():
        states, energies = module.rest(X), []
        for _ in range(150):
            states = module.settle(X, states, 1)
            energies.append(module.energy(X, states))
    assert (torch.stack(energies).diff(dim=0) < 1e-12).all()
    assert (energies[0] - energies[-1] > 1e-3).all()
    torch.testing.assert_close(module.settle(X, states, 1), states, rtol=0, atol=1e-12)
    states = [s.detach().requires_grad_() for s in states]
    for s, slope in zip(states, torch.autograd.grad(module.energy(X, states).sum(), states), strict=True):
        assert ((s > 0) & (s < 1)).any()
        assert (slope[(s > 0) & (s < 1)].abs() < 1e-10).all()
        assert (slope[s == 0] >= 0).all()
        assert (slope[s == 1] <= 0).all()


def test_a_step_is_one_down_the_gradient_of_energy_and_cost() -> None:
    module, target = network(), torch.nn.functional.one_hot(TARGET, 3).double()
    states = [torch.rand_like(s).requires_grad_() for s in module.rest(X)]
    total = module.energy(X, states).sum() + 0.7 * (states[-1] - target).square().sum()
    slopes = torch.autograd.grad(total, states)
    expected = [(s - 0.5 * slope).clamp(0, 1) for s, slope in zip(states, slopes, strict=True)]
    torch.testing.assert_close(module.settle(X, states, 1, beta=0.7, target=target), expected)


def test_estimates_tend_to_the_gradient_through_the_settling() -> None:
    module = network()
    cost = (module(X) - torch.nn.functional.one_hot(TARGET, 3)).square().sum(-1).mean()
    cost.backward()
    exact = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])

    def error(variant: str, beta: float) -> float:
        return float((gradient(variant, beta) - exact).norm() / exact.norm())

    assert error("one-sided", 0.01) / error("one-sided", 0.005) == pytest.approx(2, rel=0.05)
    assert error("centred", 0.01) / error("centred", 0.005) == pytest.approx(4, rel=0.05)
    assert error("centred", 0.005) < 5e-4 < error("one-sided", 0.005) < 0.02


def test_the_sign_is_drawn_for_each_batch() -> None:
    learner = EquilibriumPropagation(network(), variant="random-sign", beta=0.3)
    assert {learner.nudges() for _ in range(20)} == {(0.0, 0.3), (0.0, -0.3)}


def test_the_reported_loss_is_the_cost_of_the_free_state_and_the_answer_the_free_state() -> None:
    module = network()
    out = EquilibriumPropagation(module).backward(X, TARGET)
    with torch.no_grad():
        free = module(X)
    torch.testing.assert_close(out.loss, (free - torch.nn.functional.one_hot(TARGET, 3)).square().sum(-1).mean())
    torch.testing.assert_close(out.log_belief, free.log_softmax(-1))


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not a Linear: set model.network = 'hopfield'"):
        EquilibriumPropagation(torch.nn.Linear(3, 3))  # type: ignore[arg-type]
