"""The formulas against cases worked out by hand, and against a simulation of 1F1B operation by operation."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.planner.devices import Link
from torchsid.planner.forecast import Step, collective, fill_seconds, needed_queue, pipeline, sid

FAST = Link(1e30, 0.0)
times = st.floats(0.1, 10)


def even(p: int, m: int, f: float, b: float, *, link: Link = FAST, zero_bubble: bool = False) -> Step:
    return pipeline([f] * p, [b] * p, [0.0] * p, [0.0] * p, link, micro_batches=m, zero_bubble=zero_bubble)


def seconds(step: Step) -> float:
    return sum(step.values())


def simulated(p: int, m: int, f: float, b: float, hop: float = 0.0) -> float:
    """When the last operation of 1F1B ends: each device runs its fixed order as soon as what it needs has arrived."""

    def order(k: int) -> list[tuple[str, int]]:
        warm = min(p - k - 1, m)
        steady = [each for i in range(m - warm) for each in (("F", warm + i), ("B", i))]
        return [*(("F", i) for i in range(warm)), *steady, *(("B", i) for i in range(m - warm, m))]

    before = {(k, *after): (k, *op) for k in range(p) for op, after in zip(order(k), order(k)[1:], strict=False)}

    @cache
    def end(k: int, kind: str, i: int) -> float:
        ready = end(*before[k, kind, i]) if (k, kind, i) in before else 0.0
        if kind == "F":
            return max(ready, end(k - 1, "F", i) + hop if k else 0.0) + f
        return max(ready, end(k + 1, "B", i) + hop if k < p - 1 else end(k, "F", i)) + b

    return max(end(k, "B", m - 1) for k in range(p))


def test_1f1b_by_hand() -> None:
    step = pipeline([1.0] * 4, [2.0] * 4, [0.5] * 4, [0.0] * 4, FAST, micro_batches=8, zero_bubble=False)
    assert step == pytest.approx({"work": 24, "update": 0.5, "imbalance": 0, "bubble": 9, "messages": 0})


@given(p=st.integers(1, 5), extra=st.integers(0, 6), f=times, b=times)
def test_without_messages_even_devices_are_as_simulated(p: int, extra: int, f: float, b: float) -> None:
    assert seconds(even(p, p + extra, f, b)) == pytest.approx(simulated(p, p + extra, f, b))


@given(p=st.integers(2, 5), turns=st.integers(1, 4), latency=times, t=times)
def test_with_messages_the_formula_is_within_a_round_trip_of_the_simulation(p: int, turns: int, latency: float, t: float) -> None:
    m = p * turns + 1  # so many times all p micro-batches under way are used up
    expected, found = simulated(p, m, t, 2 * t, latency), seconds(even(p, m, t, 2 * t, link=Link(1e30, latency)))
    assert expected - 1e-9 <= found <= expected + 2 * latency * (p - 1) + 1e-9


@given(rows=st.lists(st.tuples(times, times), min_size=1, max_size=5), m=st.integers(1, 9), zero_bubble=st.booleans())
def test_uneven_devices_take_no_less_than_the_busiest_alone(rows: list[tuple[float, float]], m: int, zero_bubble: bool) -> None:
    forward, backward = map(list, zip(*rows, strict=True))
    nothing = [0.0] * len(rows)
    found = pipeline(forward, backward, nothing, nothing, FAST, micro_batches=m, zero_bubble=zero_bubble)
    assert seconds(found) >= m * max(map(sum, rows)) - 1e-9
    assert all(part >= -1e-9 for part in found.values())


@given(p=st.integers(1, 6), extra=st.integers(0, 9), f=times, w=times)
def test_zb_h1_is_the_paper_s_formula(p: int, extra: int, f: float, w: float) -> None:
    m, b = p + extra, (w := min(f, w))
    assert seconds(even(p, m, f, b + w, zero_bubble=True)) == pytest.approx(m * (f + b + w) + (p - 1) * (f + b - w))


def test_weight_gradients_hide_latency_that_1f1b_waits_for() -> None:
    waits, hides = (even(4, 16, 1.0, 2.0, link=Link(1e30, 0.4), zero_bubble=zero_bubble) for zero_bubble in (False, True))
    # per micro-batch 2c(p−1)/p on top, and the round trip of the first
    assert waits["messages"] == pytest.approx(15 * 2 * 0.4 * 3 / 4 + 2 * 3 * 0.4)
    assert hides["messages"] == pytest.approx(2 * 3 * 0.4)


def test_a_collective_by_hand() -> None:
    assert collective(400.0, 4, Link(100.0, 0.5)) == pytest.approx(3 / 4 * 4 + 2 * 0.5)
    assert collective(400.0, 1, Link(100.0, 0.5)) == 0


def test_sid_by_hand() -> None:
    devices = [2.0, 3.0], [0.5, 0.0], [0.1, 0.1], [100.0, 0.0]  # trunk, heads, updates, sent
    losses = {"heads": 0.25, "update": 0.1, "imbalance": 0.25, "messages": 0, "latency": 0}
    assert sid(*devices, FAST, queue=2) == pytest.approx({"work": 2.5, **losses})
    assert sid(*devices, Link(20.0, 0.0), queue=2)["messages"] == pytest.approx(5 - 3.1)
    assert seconds(sid(*devices, Link(1e30, 10.0), queue=2)) == pytest.approx(5.0)
    assert seconds(sid(*devices, Link(1e30, 10.0), queue=4)) == pytest.approx(3.1)


@given(t=times, latency=times, size=times)
def test_the_needed_queue_hides_the_latency_and_one_less_does_not(t: float, latency: float, size: float) -> None:
    link = Link(100.0, latency)
    needed = needed_queue(t, [size, 0.0], link)
    assert seconds(sid([t, t], [0, 0], [0, 0], [size, 0.0], link, queue=needed)) == pytest.approx(max(t, size / 100))
    if needed > 1 and size / 100 < t:
        assert seconds(sid([t, t], [0, 0], [0, 0], [size, 0.0], link, queue=needed - 1)) > t


def test_the_pipeline_fills_once() -> None:
    assert fill_seconds(2.0, [100.0, 100.0, 0.0], Link(100.0, 0.5)) == pytest.approx(2 * 2 + 2 * 1.5)
