import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.strategies import alphas, directions, temperatures
from tests.strategies import beliefs as random_beliefs
from torchsid import LocalObjective
from torchsid.core import beliefs
from torchsid.core.objective import Alpha, Direction, alphas_of
from torchsid.errors import TargetError

Triple = tuple[Tensor, Tensor, Tensor]


both_directions = pytest.mark.parametrize("direction", ["forward", "reverse"])


# The minimisers (Proposition 1)


@given(
    direction=directions,
    temperature=temperatures,
    pair=random_beliefs(2),
    alpha=alphas,
    seed=st.integers(0, 2**31),
    size=st.floats(1e-3, 3),
)
def test_no_perturbation_is_better_than_the_minimiser(
    direction: Direction, temperature: float, pair: tuple[Tensor, Tensor], alpha: float, seed: int, size: float
) -> None:
    objective = LocalObjective(direction=direction, temperature=temperature)
    best = objective.minimiser(*pair, alpha)
    noise = torch.randn(64, len(best), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    others = (best + size * noise).log_softmax(-1)
    assert (objective(others, *pair, alpha) >= objective(best, *pair, alpha) - 1e-12).all()


@given(direction=directions, temperature=temperatures, pair=random_beliefs(2), alpha=alphas)
def test_the_gradient_at_the_minimiser_is_zero(
    direction: Direction, temperature: float, pair: tuple[Tensor, Tensor], alpha: float
) -> None:
    objective = LocalObjective(direction=direction, temperature=temperature)
    logits = objective.minimiser(*pair, alpha).requires_grad_()
    objective(beliefs.to_log_belief(logits), *pair, alpha).backward()
    assert logits.grad.abs().max().item() < 1e-12


@given(triple=random_beliefs(3), alpha=alphas)
def test_reverse_is_the_divergence_from_its_minimiser_and_a_constant(triple: Triple, alpha: float) -> None:
    log_p, log_target, log_previous = triple
    objective = LocalObjective(direction="reverse")
    best = objective.minimiser(log_target, log_previous, alpha)
    excess = objective(log_p, log_target, log_previous, alpha) - objective(best, log_target, log_previous, alpha)
    torch.testing.assert_close(excess, beliefs.reverse_kl(log_p, best), atol=1e-10, rtol=1e-9)


# Gradients


@both_directions
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_gradcheck(direction: Direction, shape: tuple[int, ...]) -> None:
    objective = LocalObjective(direction=direction)
    log_target, log_previous = torch.randn(2, *shape, dtype=torch.float64).log_softmax(-1)
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: objective(beliefs.to_log_belief(logits), log_target, log_previous, 0.3), logits)


def assert_closed_form_is_autograds(objective: LocalObjective, logits: Tensor, log_target: Tensor, alpha: float | Tensor) -> None:
    logits = logits.requires_grad_()
    log_previous = torch.randn(logits.shape, dtype=torch.float64).log_softmax(-1)
    log_belief = beliefs.to_log_belief(logits)
    objective(log_belief, log_target, log_previous, alpha).sum().backward()
    loss, gradient = objective.loss_and_gradient(log_belief.detach(), log_target, log_previous, alpha)
    torch.testing.assert_close(loss, objective(log_belief.detach(), log_target, log_previous, alpha), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gradient, logits.grad, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, "by stage"])
@pytest.mark.parametrize("target", ["soft", "one-hot"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
@both_directions
def test_the_closed_form_gradient_is_autograds(direction: Direction, temperature: float, target: str, alpha: float | str) -> None:
    smoothing = 0.1 if direction == "reverse" else 0.0
    objective = LocalObjective(direction=direction, label_smoothing=smoothing, temperature=temperature)
    given_target = torch.randn(6, 5, dtype=torch.float64).softmax(-1) if target == "soft" else torch.randint(5, (6,))
    log_target = objective.log_target(given_target, 5, dtype=torch.float64)
    by_stage = torch.linspace(0, 1, 4, dtype=torch.float64).unsqueeze(-1)  # [L, 1]
    logits = torch.randn(4, 6, 5, dtype=torch.float64)
    assert_closed_form_is_autograds(objective, logits, log_target, by_stage if isinstance(alpha, str) else alpha)


@both_directions
def test_the_previous_belief_is_a_constant(direction: Direction) -> None:
    log_belief, log_target, log_previous = torch.randn(3, 4, 5).log_softmax(-1)
    log_belief.requires_grad_()
    log_previous.requires_grad_()
    LocalObjective(direction=direction)(log_belief, log_target, log_previous, 0.5).sum().backward()
    assert log_previous.grad is None
    assert log_belief.grad is not None


# The teacher's temperature


@given(triple=random_beliefs(3), temperature=temperatures, alpha=alphas, direction=directions)
def test_a_tempered_teacher_is_a_power_of_the_previous_belief(
    triple: Triple, temperature: float, alpha: float, direction: Direction
) -> None:
    log_p, log_target, log_previous = triple
    power = log_previous.exp() ** (1 / temperature)
    tempered = (power / power.sum()).log()
    warm, plain = LocalObjective(direction=direction, temperature=temperature), LocalObjective(direction=direction)
    torch.testing.assert_close(warm.teacher(log_previous), tempered, atol=1e-12, rtol=1e-12)
    for method in ("__call__", "loss_and_gradient"):
        ours = getattr(warm, method)(log_p, log_target, log_previous, alpha)
        torch.testing.assert_close(ours, getattr(plain, method)(log_p, log_target, tempered, alpha), atol=1e-11, rtol=1e-11)
    best = warm.minimiser(log_target, log_previous, alpha)
    torch.testing.assert_close(best, plain.minimiser(log_target, tempered, alpha), atol=1e-11, rtol=1e-11)


@given(pair=random_beliefs(2))
def test_heat_softens_and_cold_sharpens(pair: tuple[Tensor, Tensor]) -> None:
    entropies = [beliefs.entropy(LocalObjective(temperature=t).teacher(pair[0])).item() for t in (0.5, 1.0, 2.0)]
    assert entropies[0] - 1e-12 <= entropies[1] <= entropies[2] + 1e-12


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"temperature={temperature}: allowed is float"):
        LocalObjective(temperature=temperature)


# Extreme numbers


def extreme_logits(num_classes: int, size: float, dtype: torch.dtype) -> Tensor:
    """Rows with one huge logit, one hugely negative, huge ties, mixed signs, and all equal."""
    logits = torch.zeros(5, num_classes)
    logits[0, 0] = size
    logits[1, -1] = -size
    logits[2, :2] = size
    logits[3] = size * torch.linspace(-1, 1, num_classes)
    return logits.to(dtype)


@pytest.mark.parametrize(("num_classes", "leading"), [(2, ()), (2, (2, 3)), (10, (2,)), (50_000, ())])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1.0, 100.0, 1e4, 1e30])
@both_directions
def test_no_nan_and_no_infinity(
    direction: Direction, size: float, dtype: torch.dtype, num_classes: int, leading: tuple[int, ...]
) -> None:
    objective = LocalObjective(direction=direction, label_smoothing=0.1)
    logits = extreme_logits(num_classes, size, dtype).expand(*leading, 5, num_classes).clone().requires_grad_()
    log_previous = beliefs.to_log_belief(logits.detach().roll(1, -2))  # other rows, as extreme
    log_target = objective.log_target(torch.randint(num_classes, (*leading, 5)), num_classes)
    log_belief = beliefs.to_log_belief(logits)
    loss = objective(log_belief, log_target, log_previous, 0.5)
    loss.sum().backward()
    assert loss.shape == (*leading, 5)
    closed_loss, closed_form = objective.loss_and_gradient(log_belief.detach(), log_target, log_previous, 0.5)
    minimiser = objective.minimiser(log_target, log_previous, 0.5)
    for tensor in (loss, logits.grad, closed_loss, closed_form):
        assert torch.isfinite(tensor).all()
    torch.testing.assert_close(minimiser.exp().sum(-1), torch.ones(*leading, 5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_one_hot_targets_are_finite_in_forward(size: float) -> None:
    objective = LocalObjective()
    logits = extreme_logits(10, size, torch.float32).requires_grad_()
    log_target = objective.log_target(torch.arange(5), 10)
    loss = objective(beliefs.to_log_belief(logits), log_target, beliefs.uniform_prior(10).expand(5, 10), 0.5)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


# Targets


@pytest.mark.parametrize("target", [torch.tensor([0, 1]), torch.eye(3)[:2]], ids=["classes", "rows"])
def test_reverse_needs_full_support(target: Tensor) -> None:
    with pytest.raises(TargetError, match=r"direction='reverse' is infinite.*label_smoothing above 0.*direction='forward'"):
        LocalObjective(direction="reverse").log_target(target, 3)


def test_reverse_takes_smoothed_and_soft_targets() -> None:
    assert torch.isfinite(LocalObjective(direction="reverse", label_smoothing=0.1).log_target(torch.tensor([0, 1]), 3)).all()
    assert torch.isfinite(LocalObjective(direction="reverse").log_target(torch.full((2, 3), 1 / 3), 3)).all()


# Settings


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan, [0.5, 1.5], "linear:1:2", "cosine:-1:0"])
def test_an_alpha_out_of_range_is_refused(alpha: Alpha) -> None:
    with pytest.raises(ValueError, match=r"alpha = .* must lie in \[0, 1\]"):
        LocalObjective(alpha=alpha)


@pytest.mark.parametrize("alpha", ["lineal:1:0", "linear", "linear:1", "linear:1:0:0", "cosine:a:b", ""])
def test_a_misspelt_schedule_is_refused(alpha: str) -> None:
    message = rf"alpha = '{alpha}' is no schedule: allowed is 'linear:FIRST:LAST' or 'cosine:FIRST:LAST'"
    with pytest.raises(ValueError, match=message):
        LocalObjective(alpha=alpha)


def test_a_sequence_needs_one_alpha_a_stage() -> None:
    with pytest.raises(ValueError, match=r"alpha has 2 values for 3 stages"):
        LocalObjective(alpha=[0.1, 0.2]).alphas(3)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"unknown direction 'revers' \(did you mean 'reverse'\?\)") as error:
        LocalObjective(alpha=2.0, direction="revers", label_smoothing=-1.0)  # type: ignore[arg-type]
    assert "label_smoothing=-1.0: allowed is float, at least 0, at most 1" in str(error.value)
    assert "alpha = 2.0: every value must lie in [0, 1]" in str(error.value)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.3, [0.3, 0.3, 0.3]),
        (1, [1.0, 1.0, 1.0]),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ("linear:1.0:0.2", [1.0, 0.6, 0.2]),
        ("cosine:1.0:0.2", [1.0, 0.6, 0.2]),
        ("linear:0:1", [0.0, 0.5, 1.0]),
        ("step:0.5:1", [0.5, 0.5, 1.0]),
        ("ends:1:0.75", [1.0, 0.75, 1.0]),
    ],
)
def test_alphas_over_the_stages(alpha: Alpha, expected: list[float]) -> None:
    assert alphas_of(alpha, 3) == pytest.approx(expected)


@given(alphas=st.lists(st.floats(0.05, 0.95), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_an_ideal_cascade_ends_between_the_target_and_the_prior_unless_its_ends_learn_from_the_target_alone(
    alphas: list[float], seed: int
) -> None:
    log_next = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(-1)
    for between in (alphas, [1.0, *alphas, 1.0]):
        objective, log_belief = LocalObjective(alpha=between), beliefs.uniform_prior(7).to(log_next).expand_as(log_next)
        for alpha in objective.alphas(len(between)):
            log_belief = objective.minimiser(log_next, log_belief, alpha)
        rest = math.prod(1 - alpha for alpha in between)
        torch.testing.assert_close(log_belief.exp(), (1 - rest) * log_next.exp() + rest / 7)


def test_the_objective_of_some_stages_has_their_alphas() -> None:
    objective = LocalObjective(alpha="linear:1.0:0.2", direction="reverse", label_smoothing=0.1, temperature=2.0)
    part = objective.of_stages(range(2, 4), 5)
    assert part.alphas(2) == objective.alphas(5)[2:4]
    assert (part.direction, part.label_smoothing, part.temperature) == ("reverse", 0.1, 2.0)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@given(first=st.floats(0, 1), last=st.floats(0, 1), depth=st.integers(1, 100))
def test_schedules_run_from_first_to_last(shape: str, first: float, last: float, depth: int) -> None:
    values = alphas_of(f"{shape}:{first}:{last}", depth)
    assert len(values) == depth
    assert values[0] == pytest.approx(first, abs=1e-12)
    if depth > 1:
        assert values[-1] == pytest.approx(last, abs=1e-12)
    assert list(values) == sorted(values, reverse=first > last)
