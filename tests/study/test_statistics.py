import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from torchsid.study.statistics import (
    Interval,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_difference,
    paired_effect,
    paired_seeds,
    proportion_interval,
)

IntervalOf = Callable[[list[float]], Interval]


def disagreeing(a_only: int, b_only: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    correct_a = [True] * a_only + [False] * b_only + [True] * both + [False] * neither
    correct_b = [False] * a_only + [True] * b_only + [True] * both + [False] * neither
    return correct_a, correct_b


@pytest.mark.parametrize("interval_of", [mean_interval, bootstrap_interval])
def test_one_value_has_a_mean_and_no_interval(interval_of: IntervalOf) -> None:
    interval = interval_of([0.25])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.25, None, None, 1)


@pytest.mark.parametrize("interval_of", [mean_interval, bootstrap_interval])
@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_that_are_not_numbers_are_refused(interval_of: IntervalOf, values: list[float]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        interval_of(values)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence)


def test_mean_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    intervals = [mean_interval(generator.normal(7, 3, 5).tolist(), 0.9) for _ in range(1000)]
    covered = sum(i.low <= 7 <= i.high for i in intervals)
    assert 870 <= covered <= 930  # 900 expected, standard deviation 9.5


def test_the_bootstrap_is_reproducible() -> None:
    values = np.random.default_rng(3).exponential(2, 200).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_interval(values, resamples=0)


def test_of_three_values_the_bootstrap_covers_three_quarters_and_student_what_it_says() -> None:
    """The reason why experiments show Student's intervals: 1,000 samples of three, whose mean is 0."""
    samples = np.random.default_rng(3).normal(size=(1000, 3)).tolist()

    def covered(interval_of: IntervalOf) -> float:
        found = [interval_of(sample) for sample in samples]
        return sum(each.low is not None and each.high is not None and each.low <= 0 <= each.high for each in found) / len(found)

    assert covered(mean_interval) == pytest.approx(0.95, abs=0.02)  # three standard errors
    assert covered(lambda values: bootstrap_interval(values, resamples=2000)) == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (7, 10), (1, 10_000)])
def test_the_interval_of_a_share_stays_a_share(correct: int, n: int) -> None:
    interval = proportion_interval(correct, n)
    assert interval.low is not None
    assert interval.high is not None
    assert 0 <= interval.low <= correct / n <= interval.high <= 1
    assert interval.high > interval.low


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_proportions_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="allowed"):
        proportion_interval(correct, n)


def test_paired_p_value_is_the_exact_mcnemar_test() -> None:
    result = paired_difference(*disagreeing(9, 2, 80, 9))
    assert result.difference == pytest.approx(0.07)
    assert result.p_value == pytest.approx(2 * (1 + 11 + 55) / 2**11)  # at most 2 of 11 fair coins, or at most 2 of the others
    assert result.low < result.difference < result.high


def test_paired_difference_is_antisymmetric() -> None:
    a, b = disagreeing(9, 2, 80, 9)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))
    assert back.p_value == forth.p_value


def test_two_that_always_agree_differ_by_zero_with_some_doubt_left() -> None:
    result = paired_difference([True] * 50, [True] * 50)
    assert (result.difference, result.p_value) == (0, 1)
    assert result.low < 0 < result.high
    assert not result.resolved


def test_paired_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):  # a is right alone with 8 %, b alone with 5 %: the truth is 3 points
        draw = generator.random(400)
        result = paired_difference((draw < 0.08) | (draw > 0.2), (draw < 0.13) & (draw >= 0.08) | (draw > 0.2))
        covered += result.low <= 0.03 <= result.high
    assert 925 <= covered <= 975  # 950 expected, standard deviation 6.9


def test_pairing_sees_what_two_separate_intervals_do_not() -> None:
    a, b = disagreeing(20, 2, 300, 38)
    assert paired_difference(a, b).resolved
    apart = [proportion_interval(sum(correct), 360) for correct in (a, b)]
    assert apart[0].low < apart[1].high


@pytest.mark.parametrize(("a", "b"), [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_paired_difference_needs_the_same_samples(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="equal, non-empty"):
        paired_difference(a, b)


def test_paired_seeds_is_the_paired_t_test_over_common_seeds() -> None:
    a, b = {0: 0.91, 1: 0.93, 2: 0.90, 7: 0.1}, {2: 0.88, 0: 0.90, 1: 0.89, 9: 0.99}
    result = paired_seeds(a, b)
    theirs = stats.ttest_rel([0.91, 0.93, 0.90], [0.90, 0.89, 0.88])
    interval = theirs.confidence_interval(0.95)
    assert result.n == 3
    assert result.p_value == pytest.approx(theirs.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_one_common_seed_gives_a_difference_and_no_claim() -> None:
    result = paired_seeds({0: 0.5}, {0: 0.25, 1: 0.5})
    assert (result.difference, result.low, result.high, result.p_value) == (0.25, None, None, None)
    assert not result.resolved


@pytest.mark.parametrize(("shift", "p_value"), [(0.0, 1.0), (0.5, 0.0)])
def test_seeds_without_any_spread_still_have_a_p_value(shift: float, p_value: float) -> None:
    assert paired_seeds({0: 1 + shift, 1: 2 + shift}, {0: 1.0, 1: 2.0}).p_value == p_value


def test_no_common_seed_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"\[0\] and \[1\]"):
        paired_seeds({0: 1.0}, {1: 1.0})


def test_effects_need_pairs_and_spread() -> None:
    assert paired_effect({0: 1.0}, {0: 0.0}) is None
    assert paired_effect({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}) is None
    assert paired_effect({0: 1.0, 1: 3.0, 7: 9.0}, {0: 0.0, 1: 0.0}) == pytest.approx(2 / 2**0.5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_importing_needs_neither_torch_nor_scipy() -> None:
    code = "import sys, torchsid.study.statistics; print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
