"""Intervals and paired differences, so that no number is shown without its uncertainty. Everything is deterministic.

All intervals cover 95 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchsid.packages import require
from torchsid.training.interval import wilson_interval

_UPPER = 0.975  # the quantile at which an interval of 95 % ends


@dataclass(frozen=True, slots=True)
class Estimate:
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
    effect: float | None = None
    """Of seeds, Cohen's d of paired samples, `mean(a − b) / s(a − b)`; None for fewer than two pairs or without any spread."""


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean and Student's interval `mean ± t · s / sqrt(n)` with n - 1 degrees of freedom; values must be finite."""
    sample = _finite(values)
    n, mean = sample.size, float(sample.mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = float(scipy_stats().t.ppf(_UPPER, n - 1) * sample.std(ddof=1)) / sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def bootstrap_interval(values: Sequence[float]) -> Estimate:
    """Return the mean and its percentile bootstrap interval (Efron, 1979) of 10,000 resamples, for skewed values and many of them.

    Of few values it is too narrow: of three it is their range, which covers the centre of a symmetric distribution with the
    probability 1 - 2/8 = 75 %. With fewer than about 20 values prefer `mean_interval`.
    """
    sample = _finite(values)
    if sample.size == 1:
        return Estimate(float(sample[0]), None, None, 1)
    how = {"method": "percentile", "random_state": np.random.default_rng(0)}
    batch = max(1, 1_000_000 // sample.size)  # keeps one block of drawn indices near 8 MB
    found = scipy_stats().bootstrap((sample,), np.mean, n_resamples=10_000, batch=batch, **how).confidence_interval
    return Estimate(float(sample.mean()), float(found.low), float(found.high), sample.size)


def proportion_interval(correct: int, n: int) -> Estimate:
    """Return `correct / n` with Wilson's score interval (1927), which stays in [0, 1] and holds near 0 and 1."""
    low, high = wilson_interval(correct / n, n)
    return Estimate(correct / n, low if correct else 0.0, high if correct < n else 1.0, n)


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedDifference:
    """Return `accuracy(a) - accuracy(b)` of two classifiers on the same samples.

    Only the samples on which the two disagree count: with `a_only` right by a alone and `b_only` by b alone the
    difference is `(a_only - b_only) / N`. The p-value is McNemar's, exact: under "no difference" `a_only` is
    Binomial(a_only + b_only, 1/2). The interval is Agresti and Min's (2005): Wald's, with half a sample added to each
    of the four cells, which stays honest when hardly any sample is disputed. `[N]` booleans say on which samples each is right.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    n, a_only, b_only = a.size, int(np.sum(a & ~b)), int(np.sum(b & ~a))
    p_value = float(scipy_stats().binomtest(a_only, a_only + b_only).pvalue) if a_only + b_only else 1.0
    adjusted = (a_only - b_only) / (n + 2)
    half = float(scipy_stats().norm.ppf(_UPPER)) * sqrt((a_only + b_only + 1) / (n + 2) - adjusted**2) / sqrt(n + 2)
    return PairedDifference((a_only - b_only) / n, max(-1.0, adjusted - half), min(1.0, adjusted + half), p_value, n)


def paired_seeds(a: Mapping[int, float], b: Mapping[int, float]) -> PairedDifference:
    """Return the mean of `a[seed] - b[seed]` over the seeds that both have, at least one, with Student's interval and t-test."""
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    found = mean_interval(differences)
    if found.n == 1:
        return PairedDifference(found.mean, None, None, None, 1)
    effect, p_value = None, float(found.mean == 0)
    if (spread := float(np.std(differences, ddof=1))) > 0:  # by hand: SciPy's test warns where there is hardly any
        effect = found.mean / spread
        p_value = float(2 * scipy_stats().t.sf(abs(effect) * sqrt(found.n), found.n - 1))
    return PairedDifference(found.mean, found.low, found.high, p_value, found.n, effect)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by Holm's step-down method (1979); None, of a single pair, stays None and does not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"{sample.size} values given, {int(np.sum(~np.isfinite(sample)))} of them not finite")
    return sample


def scipy_stats() -> ModuleType:
    """Return `scipy.stats`, which takes a second to import; a MissingPackageError without SciPy."""
    return require("scipy.stats", extra="report", purpose="an interval or a p-value")
