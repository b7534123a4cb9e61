import itertools
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from torchsid.cut.cuts import balanced_cuts

sizes = st.lists(st.integers(0, 20), min_size=1, max_size=7)


def brute_force(costs: dict[tuple[int, int], float], pieces: int, stages: int) -> tuple[float, float] | None:
    """The smallest possible heaviest group, and the smallest sum of squares among the partitions that reach it."""
    found = []
    for ends in itertools.combinations(range(1, pieces), stages - 1):
        bounds = (0, *ends, pieces)
        groups = [costs[a, b] for a, b in itertools.pairwise(bounds)]
        if max(groups) < inf:
            found.append((max(groups), sum(group**2 for group in groups)))
    return min(found, default=None)


def assert_best(costs: dict[tuple[int, int], float], pieces: int, stages: int) -> None:
    ends = balanced_cuts(pieces, stages, lambda a, b: costs[a, b])
    best = brute_force(costs, pieces, stages)
    assert (ends is None) == (best is None)
    if ends is not None:
        assert len(ends) == stages
        assert ends[-1] == pieces
        groups = [costs[a, b] for a, b in itertools.pairwise((0, *ends))]  # raises for an empty or backward group
        assert (max(groups), sum(group**2 for group in groups)) == best


@given(sizes=sizes, data=st.data())
def test_sums_are_balanced_as_well_as_can_be(sizes: list[int], data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, len(sizes)))
    pieces = len(sizes)
    assert_best({(a, b): float(sum(sizes[a:b])) for a in range(pieces) for b in range(a + 1, pieces + 1)}, pieces, stages)


@given(pieces=st.integers(1, 6), data=st.data())
def test_so_is_any_cost_even_an_impossible_one(pieces: int, data: st.DataObject) -> None:
    """Costs that are no sums, as kept bytes are: a storage that two pieces share counts once."""
    cost = st.integers(0, 9).map(float) | st.just(inf)
    costs = {(a, b): data.draw(cost) for a in range(pieces) for b in range(a + 1, pieces + 1)}
    assert_best(costs, pieces, data.draw(st.integers(1, pieces)))


def test_no_partition() -> None:
    assert balanced_cuts(3, 2, lambda a, b: inf) is None
    assert balanced_cuts(2, 3, lambda a, b: 1.0) is None
