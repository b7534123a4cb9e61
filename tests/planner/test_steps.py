"""The formulas against cases worked out by hand, and against a simulation of 1F1B operation by operation."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.planner.devices import Link
from torchsid.planner.steps import (
    MicroBatch,
    Step,
    all_reduce,
    fill_seconds,
    full_sharding,
    needed_queue,
    one_f_one_b,
    sid,
    zb_h1,
)

FAST = Link(1e30, 0.0)
times = st.floats(0.1, 10)


def even(devices: int, f: float = 1.0, b: float = 1.0, w: float = 1.0, sent: float = 0.0) -> MicroBatch:
    return MicroBatch([f] * devices, [b] * devices, [w] * devices, [*[sent] * (devices - 1), 0.0])


def simulated(micro: MicroBatch, hops: list[float], m: int) -> float:
    """When the last operation of 1F1B ends: each device runs its fixed order as soon as what it needs has arrived."""
    p = len(micro.forward)

    def order(k: int) -> list[tuple[str, int]]:
        warm = min(p - k - 1, m)
        steady = [each for i in range(m - warm) for each in (("F", warm + i), ("B", i))]
        return [*(("F", i) for i in range(warm)), *steady, *(("B", i) for i in range(m - warm, m))]

    before = {(k, *after): (k, *op) for k in range(p) for op, after in zip(order(k), order(k)[1:], strict=False)}

    @cache
    def end(k: int, kind: str, i: int) -> float:
        ready = end(*before[k, kind, i]) if (k, kind, i) in before else 0.0
        if kind == "F":
            arrives = end(k - 1, "F", i) + hops[k - 1] if k else 0.0
            return max(ready, arrives) + micro.forward[k]
        arrives = end(k + 1, "B", i) + hops[k] if k < p - 1 else end(k, "F", i)
        return max(ready, arrives) + micro.backward[k] + micro.weights[k]

    return max(end(k, "B", m - 1) for k in range(p))


def test_one_f_one_b_by_hand() -> None:
    step = one_f_one_b(even(4), [0.5] * 4, FAST, micro_batches=8)
    assert step.seconds == pytest.approx((8 + 4 - 1) * 3 + 0.5)
    assert step.parts == pytest.approx({"work": 24, "update": 0.5, "imbalance": 0, "bubble": 9, "messages": 0})
    assert step.limit == "bubble"


@given(p=st.integers(1, 5), extra=st.integers(0, 6), f=times, b=times, w=times)
def test_without_messages_even_devices_are_as_simulated(p: int, extra: int, f: float, b: float, w: float) -> None:
    micro, m = even(p, f, b, w), p + extra
    assert one_f_one_b(micro, [0.0] * p, FAST, micro_batches=m).seconds == pytest.approx(simulated(micro, [0.0] * (p - 1), m))


@given(p=st.integers(2, 5), turns=st.integers(1, 4), latency=times, t=times)
def test_with_messages_the_formula_is_within_a_round_trip_of_the_simulation(p: int, turns: int, latency: float, t: float) -> None:
    micro, m = even(p, t, t, t), p * turns + 1  # so many times all p micro-batches under way are used up
    link = Link(1e30, latency)
    expected = simulated(micro, [latency] * (p - 1), m)
    found = one_f_one_b(micro, [0.0] * p, link, micro_batches=m).seconds
    assert expected - 1e-9 <= found <= expected + 2 * latency * (p - 1) + 1e-9


@given(rows=st.lists(st.tuples(times, times, times), min_size=1, max_size=5), m=st.integers(1, 9))
def test_uneven_devices_take_no_less_than_the_busiest_alone(rows: list[tuple[float, float, float]], m: int) -> None:
    forward, backward, weights = map(list, zip(*rows, strict=True))
    micro = MicroBatch(forward, backward, weights, [0.0] * len(rows))
    for step in (one_f_one_b, zb_h1):
        found = step(micro, [0.0] * len(rows), FAST, micro_batches=m)
        assert found.seconds >= m * max(micro.totals) - 1e-9
        assert all(part >= -1e-9 for part in found.parts.values())


@given(p=st.integers(1, 6), extra=st.integers(0, 9), f=times, b=times)
def test_zb_h1_is_the_paper_s_formula(p: int, extra: int, f: float, b: float) -> None:
    m, w = p + extra, min(f, b)
    found = zb_h1(even(p, f, b, w), [0.0] * p, FAST, micro_batches=m).seconds
    assert found == pytest.approx(m * (f + b + w) + (p - 1) * (f + b - w))


def test_weight_gradients_hide_latency_that_1f1b_waits_for() -> None:
    link, micro = Link(1e30, 0.4), even(4)
    waits = one_f_one_b(micro, [0.0] * 4, link, micro_batches=16)
    hides = zb_h1(micro, [0.0] * 4, link, micro_batches=16)
    # per micro-batch 2c(p−1)/p on top, and the round trip of the first
    assert waits.parts["messages"] == pytest.approx(15 * 2 * 0.4 * 3 / 4 + 2 * 3 * 0.4)
    assert hides.parts["messages"] == pytest.approx(2 * 3 * 0.4)


def test_a_slow_link_paces_the_micro_batches() -> None:
    assert one_f_one_b(even(2, sent=50.0), [0.0] * 2, Link(1.0, 0.0), micro_batches=10).seconds >= 10 * 50


def test_full_sharding_by_hand() -> None:
    link = Link(100.0, 0.001)
    # gathers twice and scatters once 3/4 of 400 bytes: 9 s; 5 units, 3 collectives each, 2 rounds of 1 ms
    assert full_sharding(1.0, 0.25, 400.0, 5, 4, link).seconds == pytest.approx(9 + 0.03 + 0.25)
    hidden = full_sharding(20.0, 0.25, 400.0, 5, 4, link)
    assert (hidden.seconds, hidden.limit) == (20.25, "update")
    assert full_sharding(1.0, 0.0, 400.0, 5, 1, link).seconds == 1.0


def test_all_reduce_by_hand() -> None:
    assert all_reduce(400.0, 4, Link(100.0, 0.5)) == pytest.approx(2 * 3 / 4 * 4 + 2 * 2 * 0.5)
    assert all_reduce(400.0, 1, Link(100.0, 0.5)) == 0


def test_sid_by_hand() -> None:
    trunk, heads, updates, sent = [2.0, 3.0], [0.5, 0.0], [0.1, 0.1], [100.0, 0.0]
    step = sid(trunk, heads, updates, sent, FAST, queue=2)
    assert step.seconds == pytest.approx(3.1)
    losses = {"heads": 0.25, "update": 0.1, "imbalance": 0.25, "messages": 0, "latency": 0}
    assert step.parts == pytest.approx({"work": 2.5, **losses})
    assert step.efficiency == pytest.approx(2.5 / 3.1)
    assert sid(trunk, heads, updates, sent, Link(20.0, 0.0), queue=2).parts["messages"] == pytest.approx(5 - 3.1)
    late = sid(trunk, heads, updates, sent, Link(1e30, 10.0), queue=2)
    assert (late.seconds, late.limit) == (pytest.approx(5.0), "latency")
    assert sid(trunk, heads, updates, sent, Link(1e30, 10.0), queue=4).seconds == pytest.approx(3.1)


@given(rows=st.lists(st.tuples(times, times, times), min_size=1, max_size=6), queue=st.integers(1, 4))
def test_sid_is_never_slower_than_all_in_turn(rows: list[tuple[float, float, float]], queue: int) -> None:
    trunk, heads, updates = map(list, zip(*rows, strict=True))
    step = sid(trunk, heads, updates, [0.0] * len(rows), FAST, queue=queue)
    total = sum(map(sum, rows))
    assert total / len(rows) - 1e-9 <= step.seconds <= total + 1e-9


@given(t=times, latency=times, size=times)
def test_the_needed_queue_hides_the_latency_and_one_less_does_not(t: float, latency: float, size: float) -> None:
    link = Link(100.0, latency)
    needed = needed_queue(t, [size, 0.0], link)
    alone = max(t, size / 100)
    assert sid([t, t], [0, 0], [0, 0], [size, 0.0], link, queue=needed).seconds == pytest.approx(alone)
    if needed > 1 and size / 100 < t:
        assert sid([t, t], [0, 0], [0, 0], [size, 0.0], link, queue=needed - 1).seconds > t


def test_the_pipeline_fills_once() -> None:
    assert fill_seconds(Step({"work": 2.0}), [100.0, 100.0, 0.0], Link(100.0, 0.5)) == pytest.approx(2 * 2 + 2 * 1.5)
