import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.strategies import alphas
from tests.strategies import beliefs as random_beliefs
from torchsid.core import beliefs
from torchsid.errors import TargetError

SMALL = 1e-12  # rounding of a few float64 operations


def rows(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).log_softmax(-1)


@pytest.mark.parametrize("divergence", [beliefs.kl, beliefs.forward_kl, beliefs.reverse_kl])
@given(pair=random_beliefs(2))
def test_divergences_are_zero_for_equal_beliefs_and_positive_otherwise(divergence: type, pair: tuple[Tensor, Tensor]) -> None:
    log_p, log_q = pair
    value = divergence(log_p, log_q).item()
    assert value >= -SMALL
    assert divergence(log_p, log_p.clone()).item() == 0.0
    distance = (log_p.exp() - log_q.exp()).abs().sum().item()
    assert value >= distance**2 / 2 - SMALL  # Pinsker: zero only where the beliefs are equal


@given(pair=random_beliefs(2))
def test_the_two_directions_are_each_others_mirror(pair: tuple[Tensor, Tensor]) -> None:
    log_p, log_q = pair
    assert beliefs.forward_kl(log_p, log_q) == beliefs.kl(log_q, log_p) == beliefs.reverse_kl(log_q, log_p)


def test_kl_is_pytorchs() -> None:
    log_p, log_q = rows(3, 5, 7), rows(3, 5, 7)
    torch.testing.assert_close(beliefs.kl(log_p, log_q), F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1))


def test_kl_of_a_one_hot_reference_is_the_cross_entropy() -> None:
    logits, target = torch.randn(6, 4), torch.randint(4, (6,))
    loss = beliefs.forward_kl(beliefs.to_log_belief(logits), beliefs.log_target(target, 4))
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, reduction="none"))


def test_kl_is_infinite_where_the_reference_misses_a_class() -> None:
    one_hot = beliefs.log_target(torch.tensor(0), 3)
    assert beliefs.reverse_kl(beliefs.uniform_prior(3), one_hot) == math.inf


@pytest.mark.parametrize("divergence", [beliefs.forward_kl, beliefs.reverse_kl])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_gradients_of_the_divergences(divergence: type, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    reference = rows(*shape)
    assert torch.autograd.gradcheck(lambda logits: divergence(beliefs.to_log_belief(logits), reference), logits)


@pytest.mark.parametrize("mixture", [beliefs.arithmetic_mixture, beliefs.geometric_mixture])
@given(pair=random_beliefs(2), alpha=alphas)
def test_mixtures_are_beliefs(mixture: type, pair: tuple[Tensor, Tensor], alpha: float) -> None:
    mixed = mixture(*pair, alpha)
    assert mixed.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("mixture", [beliefs.arithmetic_mixture, beliefs.geometric_mixture])
def test_mixtures_end_at_their_ends(mixture: type) -> None:
    log_p, log_q = rows(5, 4), rows(5, 4)
    torch.testing.assert_close(mixture(log_p, log_q, 1.0), log_p)
    torch.testing.assert_close(mixture(log_p, log_q, 0.0), log_q)


@pytest.mark.parametrize("mixture", [beliefs.arithmetic_mixture, beliefs.geometric_mixture])
def test_mixtures_forget_an_impossible_class_of_weight_zero(mixture: type) -> None:
    one_hot, log_q = beliefs.log_target(torch.tensor(0), 4), torch.randn(4).log_softmax(-1)
    torch.testing.assert_close(mixture(one_hot, log_q, 0.0), log_q)
    torch.testing.assert_close(mixture(log_q, one_hot, 1.0), log_q)


@pytest.mark.parametrize("mixture", [beliefs.arithmetic_mixture, beliefs.geometric_mixture])
def test_mixtures_take_an_alpha_for_each_row(mixture: type) -> None:
    log_p, log_q, alpha = rows(5, 4), rows(5, 4), torch.linspace(0, 1, 5, dtype=torch.float64)
    one_by_one = torch.stack([mixture(log_p[i], log_q[i], alpha[i].item()) for i in range(5)])
    torch.testing.assert_close(mixture(log_p, log_q, alpha.unsqueeze(-1)), one_by_one)


def test_the_arithmetic_mixture_of_one_hot_beliefs() -> None:
    first, second = beliefs.log_target(torch.tensor([0, 1]), 3)
    mixed = beliefs.arithmetic_mixture(first, second, 0.25)
    torch.testing.assert_close(mixed.exp(), torch.tensor([0.25, 0.75, 0.0]))


def test_entropy() -> None:
    assert beliefs.entropy(beliefs.uniform_prior(8)).item() == pytest.approx(math.log(8))
    assert beliefs.entropy(beliefs.log_target(torch.tensor(2), 8)).item() == 0.0
    log_p = rows(4, 6)
    expected = torch.distributions.Categorical(logits=log_p).entropy()
    torch.testing.assert_close(beliefs.entropy(log_p), expected)


def test_expectation_ignores_the_value_of_an_impossible_class() -> None:
    log_p = beliefs.log_target(torch.tensor(1), 3)
    assert beliefs.expectation(log_p, torch.tensor([math.inf, 4.0, math.nan])) == 4.0


# Logits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_beliefs_are_float32_at_least(dtype: torch.dtype) -> None:
    log_belief = beliefs.to_log_belief(torch.randn(3, 5).to(dtype))
    assert log_belief.dtype == torch.float32
    torch.testing.assert_close(log_belief.exp().sum(-1), torch.ones(3))


def test_float64_logits_keep_their_precision() -> None:
    assert beliefs.to_log_belief(torch.randn(3, 5, dtype=torch.float64)).dtype == torch.float64


# Priors


@pytest.mark.parametrize("num_classes", [2, 10, 50_000])
def test_the_uniform_prior(num_classes: int) -> None:
    torch.testing.assert_close(beliefs.uniform_prior(num_classes).exp(), torch.full((num_classes,), 1 / num_classes))


def test_the_frequency_prior_follows_the_counts() -> None:
    prior = beliefs.frequency_prior(torch.tensor([8, 1, 0]), pseudo_count=1.0)
    torch.testing.assert_close(prior.exp(), torch.tensor([9.0, 2.0, 1.0]) / 12)


@given(counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=20))
def test_the_frequency_prior_gives_every_class_a_chance(counts: list[int]) -> None:
    prior = beliefs.frequency_prior(torch.tensor(counts))
    assert torch.isfinite(prior).all()
    assert prior.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("counts", "pseudo_count"),
    [([3, -1], 1.0), ([3, -1], 2.0), ([3, 0], 0.0), ([3, 0], -1.0), ([3, math.inf], 1.0), ([3, math.nan], 1.0), ([3, 1], math.inf)],
)
def test_a_prior_without_a_class_is_refused(counts: list[float], pseudo_count: float) -> None:
    with pytest.raises(
        ValueError, match=r"class counts \[3, .*\] with pseudo_count=.* must be one finite number >= 0 a class and "
    ):
        beliefs.frequency_prior(torch.tensor(counts), pseudo_count=pseudo_count)


# Targets


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_classes_and_rows_agree(dtype: torch.dtype, shape: tuple[int, ...], label_smoothing: float) -> None:
    classes = torch.randint(5, shape, dtype=dtype)
    from_classes = beliefs.log_target(classes, 5, label_smoothing=label_smoothing)
    from_rows = beliefs.log_target(F.one_hot(classes.long(), 5).float(), 5, label_smoothing=label_smoothing)
    assert from_classes.shape == (*shape, 5)
    torch.testing.assert_close(from_classes, from_rows)


def test_small_integers_with_many_classes() -> None:
    """300 classes do not fit into uint8, the labels of the first 256 do."""
    assert beliefs.log_target(torch.tensor([255], dtype=torch.uint8), 300).argmax() == 255


def test_rows_become_their_logarithm() -> None:
    target = rows(4, 3).exp()
    torch.testing.assert_close(beliefs.log_target(target, 3), target.log())
    assert beliefs.log_target(target, 3).dtype == torch.float64
    assert beliefs.log_target(target.bfloat16(), 3).dtype == torch.float32
    assert beliefs.log_target(target, 3, dtype=torch.float32).dtype == torch.float32


@given(pair=random_beliefs(1), epsilon=st.floats(0, 1))
def test_smoothing_moves_towards_uniform(pair: tuple[Tensor], epsilon: float) -> None:
    (log_p,) = pair
    expected = (1 - epsilon) * log_p.exp() + epsilon / len(log_p)
    torch.testing.assert_close(beliefs.smooth(log_p, epsilon).exp(), expected, atol=1e-15, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [1e-30, 1e-9, 1e-4])
def test_smoothing_keeps_the_digits_of_a_small_epsilon(epsilon: float, dtype: torch.dtype) -> None:
    smoothed = beliefs.log_target(torch.tensor([0]), 10, label_smoothing=epsilon, dtype=dtype)
    assert smoothed[0, 1].item() == pytest.approx(math.log(epsilon / 10), rel=1e-6)


@pytest.mark.parametrize("label", [-1, 5, -100, 255])
def test_a_class_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(TargetError, match=rf"classes from .*{label}.*allowed are 0 to 4.*num_classes to the largest label \+ 1"):
        beliefs.log_target(torch.tensor([label] if label < 0 else [0, label]), 5)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(TargetError, match=r"rows of shape \(2, 4\).* 5 classes"):
        beliefs.log_target(torch.full((2, 4), 0.25), 5)


@pytest.mark.parametrize("row", [[0.5, 0.3], [0.7, 0.7], [-0.5, 1.5], [math.nan, 1.0], [math.inf, 0.0]])
def test_rows_that_are_no_probabilities_are_refused(row: list[float]) -> None:
    with pytest.raises(TargetError, match=r"must be probabilities.*give integer classes, or rows that are >= 0 and sum to 1"):
        beliefs.log_target(torch.tensor([[0.5, 0.5], row]), 2)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (F.one_hot(torch.tensor([0, 2, 1])), r"one integer a class, \[3, 3\]: .*target\.float\(\), .*target\.argmax\(-1\)"),
        (torch.zeros(3, 1, dtype=torch.int64), r"target\.squeeze\(-1\)"),
        (torch.tensor([0.0, 2.0, 1.0, 1.0]), r"a class is an integer, target\.long\(\)"),
        (torch.rand(2, 3, 5), r"must be the 3 classes, target\.movedim\(1, -1\)"),
        (torch.ones(3, dtype=torch.complex64), "the target is of torch.complex64"),
        ([0, 2, 1], "the target is of type list: give a tensor"),
        (np.array([0, 2, 1]), "the target is of type ndarray: give a tensor"),
    ],
    ids=["one-hot integers", "column", "floating-point classes", "classes in the middle", "complex", "list", "ndarray"],
)
def test_a_target_of_another_form_is_refused_with_the_way_out(target: Any, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        beliefs.check_positions(beliefs.log_target(target, 3).shape[:-1], [3], 3)


def test_no_gradient_reaches_a_target() -> None:
    assert not beliefs.log_target(torch.full((2, 4), 0.25, requires_grad=True), 4).requires_grad


@pytest.mark.parametrize("answered", [[4], [3, 2], [3, 1], [1]])
def test_a_target_for_other_positions_is_refused(answered: list[int]) -> None:
    target = beliefs.log_target(torch.zeros(3, dtype=torch.int64), 5)
    with pytest.raises(TargetError, match="the targets are for a batch of shape"):
        beliefs.check_positions(target.shape[:-1], answered, 3)
    beliefs.check_positions(target.shape[:-1], [3], 3)


# Weights of positions


@given(seed=st.integers(0, 2**31), shape=st.sampled_from([(5,), (3, 4), (2, 3, 2)]))
def test_a_mean_is_over_the_weights_and_a_position_of_weight_zero_counts_nowhere(seed: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, weight = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    weight = weight * (weight > 0.4)
    expected = (values * weight).sum() / weight.sum() if weight.any() else torch.zeros(())
    torch.testing.assert_close(beliefs.mean(values, weight), expected.double())
    torch.testing.assert_close(beliefs.mean(values.masked_fill(weight == 0, torch.inf), weight), expected.double())
    torch.testing.assert_close(beliefs.mean(values, torch.full(shape, 0.3, dtype=torch.float64)), beliefs.mean(values))


def test_the_target_of_a_position_without_weight_may_be_anything() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    classes = torch.tensor([[1, -100], [0, 99]])
    found = beliefs.log_target(classes, 3, weight=weight, label_smoothing=0.1)
    torch.testing.assert_close(found[:, 0], beliefs.log_target(torch.tensor([1, 0]), 3, label_smoothing=0.1))
    rows = torch.full((2, 2, 3), torch.nan)
    rows[:, 0] = torch.tensor([0.2, 0.3, 0.5])
    assert torch.isfinite(beliefs.log_target(rows, 3, weight=weight)).all()
    with pytest.raises(TargetError):
        beliefs.log_target(classes, 3)
