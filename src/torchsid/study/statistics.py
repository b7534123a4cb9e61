"""Intervals and paired differences, so that no number is shown without its uncertainty.

Everything is deterministic: intervals are closed formulas, and the bootstrap draws from a seeded generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import sqrt
from statistics import NormalDist
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values with its confidence interval; `low` and `high` are None when `n` is too small for one."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of `a - b` over `n` pairs, its interval and a two-sided p-value for "no difference".

    `low`, `high` and `p_value` are None when one pair is all there is.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    n: int

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean and Student's interval `mean ± t · s / sqrt(n)` with n - 1 degrees of freedom.

    Args:
        values: One number a repetition, for example a test accuracy for each seed.
        confidence: Coverage, in (0, 1).

    Raises:
        ValueError: `values` is empty or holds NaN or infinity, or `confidence` is out of range.
    """
    sample = _finite(values, confidence)
    n, mean = sample.size, float(sample.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    half = _student_quantile(confidence, n - 1) * float(sample.std(ddof=1)) / sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean and its percentile bootstrap interval (Efron, 1979), for skewed values and many of them.

    Of few values it is too narrow. Of three it is their range, because each end takes 1/27 of all resamples, more than 2.5 %; the
    range of three covers the centre of a symmetric distribution with the probability 1 - 2/8 = 75 %.

    Args:
        values: The sample; with fewer than about 20 values prefer `mean_interval`.
        confidence: Coverage, in (0, 1).
        resamples: How many samples are drawn with replacement.
        seed: Of the private generator.

    Raises:
        ValueError: As for `mean_interval`, or `resamples` is less than 1.
    """
    sample = _finite(values, confidence)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: 1 or more")
    n, mean = sample.size, float(sample.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 1_000_000 // n)  # keeps one block of drawn indices near 8 MB
    for start in range(0, resamples, rows):
        block = means[start : start + rows]
        block[:] = sample[generator.integers(n, size=(block.size, n))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), n)


def proportion_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Return `correct / n` with Wilson's score interval (1927), which stays in [0, 1] and holds near 0 and 1.

    Raises:
        ValueError: `n` is less than 1, `correct` is not in [0, n], or `confidence` is out of range.
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}; allowed: n of 1 or more, and 0 <= correct <= n")
    z, share = _normal_quantile(confidence), correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), n)


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Return `accuracy(a) - accuracy(b)` of two classifiers on the same samples.

    Only the samples on which the two disagree count: with `a_only` right by a alone and `b_only` by b alone the
    difference is `(a_only - b_only) / N`. The p-value is McNemar's, exact: under "no difference" `a_only` is
    Binomial(a_only + b_only, 1/2). The interval is Agresti and Min's (2005): Wald's, with half a sample added to each
    of the four cells, which stays honest when hardly any sample is disputed.

    Args:
        correct_a: Booleans `[N]`, whether a is right on each sample.
        correct_b: Booleans `[N]` in the same order.
        confidence: Coverage, in (0, 1).

    Raises:
        ValueError: The two differ in length, or are empty.
    """
    _check_confidence(confidence)
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"the shapes are {a.shape} and {b.shape}; allowed: two equal, non-empty [N]")
    n, a_only, b_only = a.size, int(np.sum(a & ~b)), int(np.sum(b & ~a))
    p_value = min(1.0, 2 * float(_scipy_stats().binom.cdf(min(a_only, b_only), a_only + b_only, 0.5)))
    adjusted = (a_only - b_only) / (n + 2)
    half = _normal_quantile(confidence) * sqrt((a_only + b_only + 1) / (n + 2) - adjusted**2) / sqrt(n + 2)
    low, high = max(-1.0, adjusted - half), min(1.0, adjusted + half)
    return PairedDifference((a_only - b_only) / n, low, high, p_value, n)


def paired_seeds(a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95) -> PairedDifference:
    """Return the mean of `a[seed] - b[seed]` over the seeds that both have, with Student's interval and t-test.

    Raises:
        ValueError: The two have no seed in common.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError(f"no seed in common: {sorted(a)} and {sorted(b)}; train both methods with the same seeds")
    differences = [a[seed] - b[seed] for seed in seeds]
    interval = mean_interval(differences, confidence)
    if interval.n == 1:
        return PairedDifference(interval.mean, None, None, None, 1)
    return PairedDifference(interval.mean, interval.low, interval.high, _t_test(differences), interval.n)


def _t_test(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Student's one-sample test against zero."""
    error = float(np.std(differences, ddof=1)) / sqrt(len(differences))
    mean = abs(float(np.mean(differences)))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * _scipy_stats().t.sf(mean / error, len(differences) - 1))


def _finite(values: Sequence[float], confidence: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    _check_confidence(confidence)
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"{sample.size} values given, {int(np.sum(~np.isfinite(sample)))} of them not finite")
    return sample


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: between 0 and 1, both excluded, for example 0.95")


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _student_quantile(confidence: float, degrees: int) -> float:
    return float(_scipy_stats().t.ppf((1 + confidence) / 2, degrees))


def _scipy_stats() -> ModuleType:
    try:
        return import_module("scipy.stats")
    except ImportError:
        message = "intervals over several values and p-values need SciPy; install it with pip install 'torchsid[report]'"
        raise ImportError(message) from None
