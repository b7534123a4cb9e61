import itertools
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from torchsid.planner.assign import assign

whole = st.integers(0, 9).map(float)  # so that sums are exact


def slowest(work: list[float], ends: list[float], links: list[float], bounds: tuple[int, ...]) -> float:
    return max(max(sum(work[a:b]) + ends[b - 1], links[b - 1]) for a, b in pairwise(bounds))


@given(rows=st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=8), data=st.data())
def test_no_other_assignment_is_faster(rows: list[tuple[float, float, float]], data: st.DataObject) -> None:
    work, ends, links = map(list, zip(*rows, strict=True))
    groups = data.draw(st.integers(1, len(rows)))
    found = assign(work, ends, links, groups)
    assert len(found) == groups
    assert [a for a, _ in found] == [0, *(b for _, b in found[:-1])]
    best = min(
        slowest(work, ends, links, (0, *inner, len(work))) for inner in itertools.combinations(range(1, len(work)), groups - 1)
    )
    assert slowest(work, ends, links, (0, *(b for _, b in found))) == best


def test_a_slow_message_moves_the_cut() -> None:
    assert assign([1, 1, 1, 1], [0] * 4, [0, 0, 0, 0], 2) == ((0, 2), (2, 4))
    assert assign([1, 1, 1, 1], [0] * 4, [0, 9, 0, 0], 2) in (((0, 1), (1, 4)), ((0, 3), (3, 4)))


def test_a_costly_head_moves_the_cut() -> None:
    assert assign([1, 1, 1, 1], [0, 5, 0, 0], [0] * 4, 2) in (((0, 1), (1, 4)), ((0, 3), (3, 4)))


def test_where_the_link_is_the_limit_the_work_is_even_all_the_same() -> None:
    assert assign([1] * 6, [0] * 6, [9, 9, 9, 9, 9, 0], 3) == ((0, 2), (2, 4), (4, 6))
    assert assign([1] * 6, [0] * 6, [9, 9, 9, 9, 3, 0], 3) == ((0, 2), (2, 4), (4, 6))
