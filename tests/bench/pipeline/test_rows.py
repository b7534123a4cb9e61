import pytest

from torchsid.bench.pipeline.entries import BACKPROP, GPIPE, SID, SID_PIPELINE, Entry
from torchsid.bench.pipeline.rows import best_of_each_schedule, row
from torchsid.bench.pipeline.turns import Interval, Turn, Turns
from torchsid.bench.workload import Workload

WORKLOAD = Workload(model="mlp", stages=(4,), blocks=4, batch_size=10)


def turns(seconds: float, *, workers: int = 2, fill: float = 0.0) -> Turns:
    """Three steps of so many seconds."""
    ends = tuple(fill + seconds * step for step in (1, 2, 3))
    busy = (Interval("forward", 0.0, ends[-1]),)
    working = [Turn(start=0.0, end=ends[-1], ends=ends, busy=busy, sent_bytes=30) for _ in range(workers)]
    return [*working, *[Turn(start=0.0, end=ends[-1], ends=(), busy=()) for _ in range(2 - workers)]]


ENTRIES = [Entry(SID), Entry(BACKPROP), Entry(SID_PIPELINE), Entry(GPIPE, 2), Entry(GPIPE, 4)]
TURNS = {
    Entry(SID).name: [turns(4.0, workers=1), turns(8.0, workers=1)],
    Entry(BACKPROP).name: [turns(3.0, workers=1), turns(6.0, workers=1)],
    Entry(SID_PIPELINE).name: [turns(2.0, fill=2.0), turns(4.0, fill=4.0)],
    Entry(GPIPE, 2).name: [turns(2.5), turns(5.0)],
    Entry(GPIPE, 4).name: [turns(2.0), turns(4.0)],
}


def test_the_fastest_number_of_micro_batches_counts() -> None:
    assert best_of_each_schedule(ENTRIES, TURNS) == [entry for entry in ENTRIES if entry != Entry(GPIPE, 2)]


def test_ratios_are_taken_within_a_round() -> None:
    found = row(WORKLOAD, Entry(SID_PIPELINE), TURNS, best=True)
    assert found.speed_up == pytest.approx(2.0)
    assert found.speed_up_with_fill == pytest.approx(12 / 8)
    assert found.over_backprop == pytest.approx(1.5)
    assert found.efficiency == pytest.approx(1.0)
    assert found.images_per_second == pytest.approx(10 / 3)
    assert found.images_per_second_with_fill == pytest.approx(10 / 4)
    assert found.step_ms == pytest.approx(3000)
    assert found.step_quartiles_ms == pytest.approx((2500, 3500))
    assert found.idle == pytest.approx((0.0, 0.0))
    assert found.sent_bytes == 20
    assert (found.workers, found.rounds, found.contender) == (2, 2, "sid pipeline")


def test_a_baseline_runs_on_one_worker() -> None:
    found = row(WORKLOAD, Entry(SID), TURNS, best=True)
    assert (found.workers, found.speed_up, found.over_backprop) == (1, 1.0, pytest.approx(0.75))
    assert found.idle == pytest.approx((0.0,))


def test_what_was_only_tried_has_no_ratios() -> None:
    found = row(WORKLOAD, Entry(GPIPE, 2), {Entry(GPIPE, 2).name: TURNS[Entry(GPIPE, 2).name]}, best=False)
    assert (found.speed_up, found.speed_up_with_fill, found.over_backprop, found.efficiency) == (None, None, None, None)
    assert found.step_ms == pytest.approx(3750)
