"""Where to cut: contiguous groups of pieces whose heaviest group is as light as possible."""

from collections.abc import Callable, Sequence
from math import inf

Cost = Callable[[int, int], float]
"""`cost(a, b)`: of one stage made of the pieces a … b−1; infinite when they cannot be a stage."""


def balanced_cuts(pieces: int, stages: int, cost: Cost) -> tuple[int, ...] | None:
    """Return where each of the `stages` groups ends, or None when no partition has a finite cost.

    Two dynamic programmes over (stages used, pieces used), `O(stages · pieces²)` each: the first finds the smallest possible cost
    `M` of the heaviest group; the second, among the partitions that keep to `M`, the one with the smallest sum of squares, so that
    the lighter groups are even too.

    Args:
        pieces: number of pieces n.
        stages: number of groups, 1 … n.
        cost: of a group.

    Returns:
        The ends, ascending; the last is n.
    """
    costs = [[cost(a, b) if a < b else inf for b in range(pieces + 1)] for a in range(pieces)]
    heaviest, _ = _solve(costs, stages, lambda total, group: max(total, group))
    if heaviest == inf:
        return None
    squares = [[group**2 if group <= heaviest else inf for group in row] for row in costs]
    _, ends = _solve(squares, stages, lambda total, group: total + group)
    return ends


def _solve(costs: Sequence[Sequence[float]], stages: int, join: Callable[[float, float], float]) -> tuple[float, tuple[int, ...]]:
    """Return the smallest joined cost of `stages` groups that cover all pieces, and where they end."""
    pieces = len(costs)
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(inf, ())] * pieces]  # [b]: the first b pieces
    for _ in range(stages):
        best = [
            min(
                ((join(best[a][0], costs[a][b]), (*best[a][1], b)) for a in range(b) if best[a][0] < inf),
                key=lambda found: found[0],
                default=(inf, ()),
            )
            for b in range(pieces + 1)
        ]
    return best[pieces]
