import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from torchsid.study.statistics import (
    Estimate,
    PairedDifference,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_difference,
    paired_seeds,
    proportion_interval,
)

IntervalOf = Callable[[list[float]], Estimate]


def disagreeing(a_only: int, b_only: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    correct_a = [True] * a_only + [False] * b_only + [True] * both + [False] * neither
    correct_b = [False] * a_only + [True] * b_only + [True] * both + [False] * neither
    return correct_a, correct_b


def covers(found: Estimate | PairedDifference, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


@pytest.mark.parametrize("interval_of", [mean_interval, bootstrap_interval])
def test_one_value_has_no_interval_and_what_is_no_number_no_mean(interval_of: IntervalOf) -> None:
    assert interval_of([0.25]) == Estimate(0.25, None, None, 1)
    for values in ([], [1.0, float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="not finite"):
            interval_of(values)


def test_of_three_values_the_bootstrap_covers_three_quarters_and_student_what_it_says() -> None:
    """The reason why experiments show Student's intervals: samples of three, whose mean is 0."""
    samples = np.random.default_rng(3).normal(size=(1000, 3)).tolist()
    assert sum(covers(mean_interval(sample), 0) for sample in samples) == pytest.approx(950, abs=20)  # three standard errors
    assert sum(covers(bootstrap_interval(sample), 0) for sample in samples[:200]) == pytest.approx(150, abs=18)
    assert bootstrap_interval(samples[0]) == bootstrap_interval(samples[0])


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (7, 10), (1, 10_000)])
def test_the_interval_of_a_share_stays_a_share(correct: int, n: int) -> None:
    interval = proportion_interval(correct, n)
    assert covers(interval, correct / n)
    assert 0 <= (interval.low or 0) < (interval.high or 0) <= 1


def test_the_paired_test_is_the_exact_one_of_mcnemar_and_antisymmetric() -> None:
    a, b = disagreeing(9, 2, 80, 9)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert forth.difference == pytest.approx(0.07)
    assert forth.p_value == back.p_value == pytest.approx(2 * (1 + 11 + 55) / 2**11)  # at most 2 of 11 fair coins, or of the others
    assert covers(forth, forth.difference)
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -(forth.high or 0), -(forth.low or 0)))


def test_two_that_always_agree_differ_by_zero_with_some_doubt_left() -> None:
    result = paired_difference([True] * 50, [True] * 50)
    assert (result.difference, result.p_value) == (0, 1)
    assert (result.low or 0) < 0 < (result.high or 0)


def test_paired_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5).random((1000, 400))  # a is right alone with 8 %, b alone with 5 %: the truth is 3 points
    found = [paired_difference((d < 0.08) | (d > 0.2), (d < 0.13) & (d >= 0.08) | (d > 0.2)) for d in draws]
    assert 925 <= sum(covers(each, 0.03) for each in found) <= 975  # 950 expected, standard deviation 6.9


def test_paired_seeds_is_the_paired_t_test_over_common_seeds() -> None:
    a, b = {0: 0.91, 1: 0.93, 2: 0.90, 7: 0.1}, {2: 0.88, 0: 0.90, 1: 0.89, 9: 0.99}
    result = paired_seeds(a, b)
    theirs = stats.ttest_rel([0.91, 0.93, 0.90], [0.90, 0.89, 0.88])
    interval = theirs.confidence_interval(0.95)
    assert (result.n, result.p_value) == (3, pytest.approx(theirs.pvalue))
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_one_common_seed_gives_a_difference_and_no_claim_and_none_is_an_error() -> None:
    assert paired_seeds({0: 0.5}, {0: 0.25, 1: 0.5}) == PairedDifference(0.25, None, None, None, 1)
    with pytest.raises(ValueError, match="0 values"):
        paired_seeds({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(("shift", "p_value"), [(0.0, 1.0), (0.5, 0.0)])
def test_seeds_without_any_spread_still_have_a_p_value(shift: float, p_value: float) -> None:
    assert paired_seeds({0: 1 + shift, 1: 2 + shift}, {0: 1.0, 1: 2.0}).p_value == p_value


def test_effects_need_pairs_and_spread() -> None:
    assert paired_seeds({0: 1.0}, {0: 0.0}).effect is None
    assert paired_seeds({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}).effect is None
    assert paired_seeds({0: 1.0, 1: 3.0, 7: 9.0}, {0: 0.0, 1: 0.0}).effect == pytest.approx(2 / 2**0.5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_importing_needs_neither_torch_nor_scipy() -> None:
    code = "import sys, torchsid.study.statistics; print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
