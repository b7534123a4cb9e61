import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from torchsid.core.bins import Bins

BINS = Bins(-2.0, 3.0, 20)


def beliefs(*shape: int) -> Tensor:
    return (3 * torch.randn(shape, dtype=torch.float64)).log_softmax(-1)


@given(y=st.floats(-2, 3), sigma=st.floats(0.3, 5))
def test_a_target_is_the_gaussian_within_the_support(y: float, sigma: float) -> None:
    edges, spread = np.linspace(-2, 3, 21), sigma * 0.25
    within = stats.truncnorm((-2 - y) / spread, (3 - y) / spread, loc=y, scale=spread)
    target = BINS.hl_gauss(torch.tensor(y, dtype=torch.float64), sigma)
    np.testing.assert_allclose(target.numpy(), np.diff(within.cdf(edges)), atol=1e-12)


@given(y=st.floats(-0.5, 1.5), sigma=st.floats(0.75, 1.2))
def test_the_mean_of_a_target_is_its_number_where_no_end_cuts_it_off(y: float, sigma: float) -> None:
    assert BINS.mean(BINS.hl_gauss(torch.tensor(y, dtype=torch.float64), sigma).log()).item() == pytest.approx(y, abs=2e-5)


def test_a_number_outside_counts_as_the_nearer_end() -> None:
    values = torch.tensor([-7.0, -2.0, 3.0, 9.0, math.nan])
    assert BINS.outside(values).tolist() == [True, False, False, True, True]
    torch.testing.assert_close(BINS.hl_gauss(values[[0, 3]]), BINS.hl_gauss(values[[1, 2]]))


@pytest.mark.parametrize("shape", [(20,), (4, 20), (3, 4, 20)])
def test_mean_and_quantiles_are_those_of_the_density(shape: tuple[int, ...]) -> None:
    log_belief = beliefs(*shape)
    mean, median = BINS.mean(log_belief), BINS.quantile(log_belief, 0.5)
    assert mean.shape == median.shape == shape[:-1]
    for row, own, middle in zip(log_belief.reshape(-1, 20), mean.reshape(-1), median.reshape(-1), strict=True):
        density = stats.rv_histogram((row.exp().numpy(), np.linspace(-2, 3, 21)), density=False)
        assert own.item() == pytest.approx(density.mean(), abs=1e-9)
        assert middle.item() == pytest.approx(density.ppf(0.5), abs=1e-9)


@given(level=st.floats(0.01, 0.99))
def test_the_interval_holds_its_share_and_as_much_lies_on_both_sides(level: float) -> None:
    log_belief = beliefs(20)
    density = stats.rv_histogram((log_belief.exp().numpy(), np.linspace(-2, 3, 21)), density=False)
    low, high = (end.item() for end in BINS.interval(log_belief, level))
    assert density.cdf(low) == pytest.approx(1 - density.cdf(high), abs=1e-9)
    assert density.cdf(high) - density.cdf(low) == pytest.approx(level, abs=1e-9)


def test_a_belief_in_one_bin_has_its_interval_there() -> None:
    log_belief = torch.full((20,), -math.inf).index_fill(0, torch.tensor(4), 0.0)
    low, high = BINS.interval(log_belief, 0.8)
    assert (low.item(), high.item()) == pytest.approx((-0.975, -0.775), abs=1e-6)
    assert BINS.mean(log_belief).item() == pytest.approx(-0.875)


def test_the_best_belief_about_a_noisy_number_has_its_mean_and_variance() -> None:
    """The mean of the targets is what an ideal stage with α = 1 believes; it is blurred by σ and by the width of a bin."""
    bins, noise = Bins(-6.0, 6.0, 120), torch.distributions.Normal(0.4, 1.0)
    y = noise.icdf((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)
    ideal = bins.hl_gauss(y).mean(0).log()
    assert bins.mean(ideal).item() == pytest.approx(0.4, abs=1e-6)
    blurred = math.sqrt(1 + bins.width**2 * (0.75**2 + 1 / 12))
    expected = stats.norm(0.4, blurred).interval(0.9)
    assert [end.item() for end in bins.interval(ideal, 0.9)] == pytest.approx(expected, abs=5e-3)


def test_a_share_of_the_prior_shrinks_the_mean_to_the_middle_of_the_support() -> None:
    alpha, depth = 0.5, 2
    left = (1 - alpha) ** depth
    target = BINS.hl_gauss(torch.tensor(2.0, dtype=torch.float64))
    belief = (1 - left) * target + left / 20  # where an ideal cascade ends
    assert BINS.mean(belief.log()).item() == pytest.approx((1 - left) * 2.0 + left * 0.5, abs=1e-3)


def test_rows_sum_to_one_in_the_precision_of_the_numbers() -> None:
    for dtype in (torch.float32, torch.float64):
        rows = BINS.hl_gauss(torch.linspace(-3, 4, 50, dtype=dtype))
        assert rows.dtype == dtype
        torch.testing.assert_close(rows.sum(-1), torch.ones(50, dtype=dtype))


@pytest.mark.parametrize(("low", "high", "count"), [(1, 1, 5), (2, 1, 5), (0, math.inf, 5), (math.nan, 1, 5), (0, 1, 1)])
def test_bins_that_are_none_are_refused(low: float, high: float, count: int) -> None:
    with pytest.raises(ValueError, match="give 2 bins or more"):
        Bins(low, high, count)


def test_bins_of_a_data_set() -> None:
    assert Bins.of({"bins": {"low": 0.0, "high": 1.0, "count": 4, "level": 0.9}}) == Bins(0.0, 1.0, 4)
    assert Bins.of({"num_classes": 4}) is None


@given(
    st.lists(st.tuples(st.floats(-4, 5), st.floats(0, 1)), min_size=1, max_size=6).filter(
        lambda pairs: sum(mass for _, mass in pairs) > 1e-3
    )
)
def test_a_projection_splits_each_mass_between_the_two_nearest_middles(pairs: list[tuple[float, float]]) -> None:
    """Against eq. 7 of C51 as it stands there, a sum over atoms with a triangle about each."""
    total = sum(mass for _, mass in pairs)
    values = torch.tensor([y for y, _ in pairs], dtype=torch.float64)
    mass = torch.tensor([mass / total for _, mass in pairs], dtype=torch.float64)
    centres = BINS.centres(values)
    moved = values.clamp(centres[0], centres[-1])
    triangles = (1 - (moved.unsqueeze(1) - centres).abs() / BINS.width).clamp(0, 1)
    found = BINS.projected(values, mass)
    torch.testing.assert_close(found, mass @ triangles, atol=1e-12, rtol=0)
    torch.testing.assert_close((found * centres).sum(), (mass * moved).sum(), atol=1e-12, rtol=0)
