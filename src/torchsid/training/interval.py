"""How sure a share of some samples is; needs no torch."""

from statistics import NormalDist


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share of n, which covers 95 % and stays in [0, 1] but for rounding."""
    z = NormalDist().inv_cdf(0.975)
    middle, half = share + z**2 / (2 * n), z * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
