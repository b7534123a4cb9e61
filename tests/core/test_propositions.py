"""The propositions on synthetic beliefs, where the truth is known."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from tests.strategies import beliefs, directions, inner_alphas
from torchsid import LocalObjective
from torchsid.core.objective import Direction
from torchsid.core.propositions import (
    descent_margins,
    distances_to_minimiser,
    divergence,
    error_bounds,
    excess_losses,
    ideal_residuals,
    local_losses,
    residuals,
)

ROUNDING = 1e-9
both_directions = pytest.mark.parametrize("direction", ["forward", "reverse"])
objectives = st.builds(LocalObjective, alpha=inner_alphas, direction=directions)


@st.composite
def cascades(draw: st.DrawFn, *, direction: Direction | None = None) -> tuple[Tensor, Tensor, LocalObjective]:
    """Any beliefs `[L+1, 1, C]`, as no training would make them, any target of full support, any α a stage."""
    depth = draw(st.integers(1, 5))
    target, *rows = draw(beliefs(depth + 2))
    alpha = draw(st.lists(inner_alphas, min_size=depth, max_size=depth))
    objective = LocalObjective(alpha=alpha, direction=direction or draw(directions))
    return torch.stack(rows).unsqueeze(1), target.unsqueeze(0), objective


def ideal_cascade(log_prior: Tensor, log_target: Tensor, objective: LocalObjective, depth: int) -> Tensor:
    """Beliefs `[L+1, 1, C]` of stages that all find their minimiser."""
    log_beliefs = [log_prior.unsqueeze(0)]
    for alpha in objective.alphas(depth):
        log_beliefs.append(objective.minimiser(log_target.unsqueeze(0), log_beliefs[-1], alpha))
    return torch.stack(log_beliefs)


# The definitions, by hand


@both_directions
def test_positions_are_samples_of_their_own(direction: Direction) -> None:
    objective = LocalObjective(alpha=[0.3, 0.8, 0.5], direction=direction)
    log_beliefs = torch.randn(4, 2, 3, 5, dtype=torch.float64).log_softmax(-1)
    log_target = torch.randn(2, 3, 5, dtype=torch.float64).log_softmax(-1)
    for number in (local_losses, excess_losses, descent_margins, distances_to_minimiser, residuals):
        flat = number(log_beliefs.flatten(1, 2), log_target.flatten(0, 1), objective)
        torch.testing.assert_close(number(log_beliefs, log_target, objective).flatten(1), flat)
    to_target = divergence(log_beliefs, log_target, objective)
    errors = excess_losses(log_beliefs, log_target, objective).clamp(min=0)
    bounds = error_bounds(to_target, errors, objective.alphas(3))
    torch.testing.assert_close(bounds.flatten(1), error_bounds(to_target.flatten(1), errors.flatten(1), objective.alphas(3)))


def test_every_number_of_a_small_cascade_by_hand() -> None:
    p = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]], dtype=torch.float64)
    y = torch.tensor([[0.1, 0.9]], dtype=torch.float64)
    arguments = p.log(), y.log(), LocalObjective(alpha=0.25, direction="reverse")

    def kl(a: Tensor, b: Tensor) -> float:
        return float((a * (a / b).log()).sum())

    start, end, moved = kl(p[0], y), kl(p[1], y), kl(p[1], p[0])
    assert divergence(p.log(), y.log(), arguments[2]).flatten().tolist() == pytest.approx([start, end])
    assert local_losses(*arguments).item() == pytest.approx(0.25 * end + 0.75 * moved)
    assert excess_losses(*arguments).item() == pytest.approx(0.25 * end + 0.75 * moved - 0.25 * start)
    assert descent_margins(*arguments).item() == pytest.approx(0.25 * (start - end) - 0.75 * moved)
    forward = LocalObjective(alpha=0.25)
    assert excess_losses(p.log(), y.log(), forward).item() == pytest.approx(
        0.25 * kl(y, p[1]) + 0.75 * kl(p[0], p[1]) - 0.25 * kl(y, p[0])
    )
    assert residuals(p.log(), y.log(), forward).flatten().tolist() == pytest.approx([0.4, 0.15])


def test_one_hot_targets_are_finite_in_the_forward_direction() -> None:
    log_beliefs = torch.randn(4, 3, 5, dtype=torch.float64).log_softmax(-1)
    objective = LocalObjective(alpha=[1.0, 0.5, 0.2])
    log_target = objective.log_target(torch.tensor([0, 3, 4]), 5, dtype=torch.float64)
    for function in (local_losses, excess_losses, descent_margins, distances_to_minimiser, residuals):
        assert function(log_beliefs, log_target, objective).isfinite().all()
    expected = -log_beliefs[:, torch.arange(3), torch.tensor([0, 3, 4])]
    torch.testing.assert_close(divergence(log_beliefs, log_target, objective), expected)


# Proposition 1


@given(triple=beliefs(2), objective=objectives, depth=st.integers(1, 6))
def test_exact_minimisers_have_no_error_and_contract_exactly(
    triple: tuple[Tensor, Tensor], objective: LocalObjective, depth: int
) -> None:
    log_prior, log_target = triple
    log_beliefs = ideal_cascade(log_prior, log_target, objective, depth)
    arguments = log_beliefs, log_target.unsqueeze(0), objective
    assert (excess_losses(*arguments) <= ROUNDING).all()
    assert distances_to_minimiser(*arguments).abs().max().item() <= ROUNDING
    gaps = residuals(*arguments).squeeze(1)
    alpha = objective.alphas(1)[0]
    expected = gaps[0] * torch.tensor([(1 - alpha) ** stage for stage in range(1, depth + 1)], dtype=torch.float64)
    torch.testing.assert_close(gaps[1:], expected, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(gaps[0] * ideal_residuals(objective.alphas(depth)), expected, atol=1e-12, rtol=1e-9)


@given(cascade=cascades())
def test_the_distance_to_the_minimiser_is_the_loss_above_the_least_one(cascade: tuple[Tensor, Tensor, LocalObjective]) -> None:
    log_beliefs, log_target, objective = cascade
    found = distances_to_minimiser(*cascade)
    for stage, alpha in enumerate(objective.alphas(len(log_beliefs) - 1)):
        previous = log_beliefs[stage]
        least = objective(objective.minimiser(log_target, previous, alpha), log_target, previous, alpha)
        torch.testing.assert_close(found[stage], local_losses(*cascade)[stage] - least, atol=1e-8, rtol=1e-8)
    assert (found >= -ROUNDING).all()


# Proposition 2


@given(cascade=cascades())
def test_no_beliefs_contradict_proposition_2(cascade: tuple[Tensor, Tensor, LocalObjective]) -> None:
    log_beliefs, log_target, objective = cascade
    holds = excess_losses(*cascade) <= 0
    assert (descent_margins(*cascade)[holds] >= -ROUNDING).all()
    rise = divergence(log_beliefs, log_target, objective).diff(dim=0)
    alpha = torch.tensor(objective.alphas(len(rise)), dtype=torch.float64).unsqueeze(1).expand_as(rise)
    assert (rise[holds] * alpha[holds] <= ROUNDING).all()


def search(direction: Direction) -> tuple[Tensor, Tensor, LocalObjective]:
    """Twenty thousand random stages, `[2, N, C]`, and targets, among which to look for counterexamples."""
    generator = torch.Generator().manual_seed(5)
    rows = 3 * torch.randn(3, 20_000, 3, generator=generator, dtype=torch.float64)
    return rows[:2].log_softmax(-1), rows[2].log_softmax(-1), LocalObjective(direction=direction)


@both_directions
def test_without_the_premise_descent_can_fail_and_can_hold(direction: Direction) -> None:
    stages = search(direction)
    fails = excess_losses(*stages) > 0
    rise = divergence(*stages).diff(dim=0)
    assert (rise[fails] > 0.1).any()
    assert (rise[fails] < -0.1).any()
    assert (rise[~fails] <= ROUNDING).all()
    assert (~fails).sum() > 1000


def test_descent_in_one_direction_says_nothing_of_the_other() -> None:
    log_beliefs, log_target, forward = search("forward")
    premise = excess_losses(log_beliefs, log_target, forward) <= 0
    rise = divergence(log_beliefs, log_target, LocalObjective(direction="reverse")).diff(dim=0)
    assert (rise[premise] > 0.1).any()


# Proposition 4


@given(cascade=cascades())
def test_the_bound_is_never_violated_and_the_terms_of_its_slack_are_known(cascade: tuple[Tensor, Tensor, LocalObjective]) -> None:
    log_beliefs, log_target, objective = cascade
    alphas = objective.alphas(len(log_beliefs) - 1)
    to_target = divergence(log_beliefs, log_target, objective)
    excess = excess_losses(*cascade)
    bound = error_bounds(to_target, excess.clamp(min=0), alphas)
    slack = bound - to_target[1:]
    assert (slack >= -ROUNDING * bound.clamp(min=1)).all()
    alpha = torch.tensor(alphas, dtype=torch.float64).unsqueeze(1)
    moved = divergence(log_beliefs[1:], log_beliefs[:-1], objective)
    known = ((1 - alpha) / alpha * moved + (-excess).clamp(min=0) / alpha).cumsum(0)
    torch.testing.assert_close(slack, known, atol=1e-7, rtol=1e-7)


@given(cascade=cascades(), share=st.floats(0.1, 0.9))
def test_errors_that_are_too_small_do_not_bound(cascade: tuple[Tensor, Tensor, LocalObjective], share: float) -> None:
    """The bound would not hold for just any ε: with α = 1 it is exact, and less is violated."""
    log_beliefs, log_target, direction = cascade[0][:2], cascade[1], cascade[2].direction
    objective = LocalObjective(alpha=1.0, direction=direction)
    to_target = divergence(log_beliefs, log_target, objective)
    errors = excess_losses(log_beliefs, log_target, objective).clamp(min=0)
    assume(errors.item() > 1e-3)
    assert (error_bounds(to_target, errors, (1.0,)) - to_target[1]).item() == pytest.approx(0, abs=1e-9)
    assert (error_bounds(to_target, share * errors, (1.0,)) < to_target[1]).all()


def test_where_alpha_is_zero_only_a_stage_without_error_is_bounded() -> None:
    to_target = torch.tensor([[1.0, 1.0], [0.5, 2.0]])
    assert error_bounds(to_target, torch.tensor([[0.0, 0.1]]), (0.0,)).tolist() == [[1.0, float("inf")]]
