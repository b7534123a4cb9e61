"""Time several ways of doing the same in one process, turn by turn.

Within a round each has one turn, in an order that rotates; ratios are taken within a round, so that a machine whose speed drifts
disturbs both sides alike.
"""

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")

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


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return median(a / b for a, b in zip(times, base, strict=True))


def quartiles(times: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile of two values or more."""
    low, _, high = quantiles(times, n=4, method="inclusive")
    return low, high
