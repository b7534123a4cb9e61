"""Which consecutive pieces make a stage: the slowest of them as fast as can be."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import inf

from torchsid.cut.balance import balanced_cuts


def assign(work: Sequence[float], ends: Sequence[float], links: Sequence[float], groups: int) -> tuple[tuple[int, int], ...]:
    """Return the groups as (first piece, behind the last) that make the slowest group as fast as possible.

        cost(a, b) = max(load(a, b), links_{b−1}),   load(a, b) = work_a + … + work_{b−1} + ends_{b−1}

    A group computes its pieces and the head at its end, and sends what crosses there meanwhile. Among the assignments with the
    smallest cost of the slowest group, one with even loads: where a link is the limit, no device need be full and another empty.

    Args:
        work: seconds of each piece.
        ends: seconds that a group needs beside, for the head, if it ends with the piece.
        links: seconds of the message behind each piece; the last sends none.
        groups: their number, 1 … pieces.
    """
    sums = [0.0, *accumulate(work)]

    def load(a: int, b: int) -> float:
        return sums[b] - sums[a] + ends[b - 1]

    def cost(a: int, b: int) -> float:
        return max(load(a, b), links[b - 1])

    fastest = balanced_cuts(len(work), groups, cost)
    assert fastest is not None
    slowest = max(cost(a, b) for a, b in pairwise((0, *fastest)))
    even = balanced_cuts(len(work), groups, lambda a, b: load(a, b) if cost(a, b) <= slowest else inf)
    assert even is not None
    return tuple(pairwise((0, *even)))
