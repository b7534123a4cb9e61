"""Time several ways of doing the same in one process, turn by turn.

Within a round each has one turn, in an order that rotates; ratios are taken within a round, so that a machine whose speed drifts
disturbs both sides alike.
"""

import timeit
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")
Spread = tuple[float, float, float]
"""Median, first and third quartile over the rounds."""

STEPS_A_TURN = 3  # in a row, after one that is not counted: as in training, memory is warm


def take_turns(names: Sequence[str], turn: Callable[[str], T], rounds: int) -> dict[str, list[T]]:
    """Return what `turn(name)` gave in each counted round, by name; a round of warm-up goes before."""
    results: dict[str, list[T]] = {name: [] for name in names}
    for round_ in range(-1, rounds):
        first = round_ % len(names)
        for name in [*names[first:], *names[:first]]:
            result = turn(name)
            if round_ >= 0:
                results[name].append(result)
    return results


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles; of a single value, that value."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * (values[0],)
    return middle, low, high


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio within each round."""
    return [a / b for a, b in zip(times, base, strict=True)]


def median_seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of a call that has been warmed up."""
    return median(timeit.repeat(call, number=1, repeat=1 + repeats)[1:])
