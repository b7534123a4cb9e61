from functools import partial

import pytest
from tests.distributed.workers import in_workers

from torchsid.bench.comparisons import PipelineSettings
from torchsid.bench.pipeline.bench import (
    Turn,
    Turns,
    best_of_each_method,
    idle_shares,
    lanes,
    pipeline_row,
    sent_a_step,
    steady_step_seconds,
    step_seconds,
    take_memory,
)
from torchsid.bench.pipeline.contenders import BACKPROP_ALONE, GPIPE, SID_ALONE, SID_PIPELINE
from torchsid.bench.recorder import Span
from torchsid.bench.workload import BACKPROP, SID, Procedure, Workload

# Two workers, one second a step each: the pipeline fills for a second, and the last worker pauses for half a second in step 3.
FIRST = Turn(
    start=10.0,
    end=15.5,
    ends=(11.0, 12.0, 13.0, 14.0),
    busy=tuple(Span("forward", 10.0 + k, 11.0 + k) for k in range(4)),
    sent_bytes=400,
)
BUSY = (("forward", 11.0, 12.0), ("backward", 12.0, 13.0), ("forward", 13.5, 14.5), ("update", 14.5, 15.5))
LAST = Turn(start=10.0, end=15.5, ends=(12.0, 13.0, 14.5, 15.5), busy=tuple(Span(*each) for each in BUSY))
IDLE = Turn(start=10.0, end=15.5, ends=(), busy=())


def test_paces_and_bytes_are_of_a_step() -> None:
    assert step_seconds([FIRST, LAST]) == pytest.approx(5.5 / 4)
    assert steady_step_seconds([FIRST, LAST]) == pytest.approx(3.5 / 3)
    assert steady_step_seconds([FIRST, IDLE]) == pytest.approx(1.0)
    assert sent_a_step([FIRST, LAST]) == 100


def test_idle_shares_are_of_the_time_in_which_the_pipeline_is_full() -> None:
    assert idle_shares([FIRST, LAST]) == pytest.approx([0.0, 0.25])  # between 12 and 14
    assert idle_shares([FIRST, IDLE]) == pytest.approx([0.0])
    late = Turn(start=10.0, end=20.0, ends=(15.0, 20.0), busy=(Span("forward", 14.0, 20.0),))
    assert idle_shares([FIRST, late]) is None  # it never was


def test_lanes_show_what_happens_until_the_first_steps_are_done() -> None:
    first, last = lanes([FIRST, LAST], 2)
    assert first == [("forward", 0.0, 1.0), ("forward", 1.0, 2.0), ("forward", 2.0, 3.0)]  # its step 3 goes on meanwhile
    assert last == [("forward", 1.0, 2.0), ("backward", 2.0, 3.0)]
    assert len(lanes([FIRST, IDLE], 99)) == 1


def turns(seconds: float, *, workers: int = 2, fill: float = 0.0) -> Turns:
    """Three steps of so many seconds."""
    ends = tuple(fill + seconds * step for step in (1, 2, 3))
    working = Turn(start=0.0, end=ends[-1], ends=ends, busy=(Span("forward", 0.0, ends[-1]),), sent_bytes=30)
    return [*workers * [working], *(2 - workers) * [Turn(start=0.0, end=ends[-1], ends=(), busy=())]]


ALONE, RIVAL, PIPELINE = (Procedure(method) for method in (SID_ALONE, BACKPROP_ALONE, SID_PIPELINE))
TWO, FOUR = (Procedure(GPIPE, micro_batches=number) for number in (2, 4))
ROUNDS = {
    ALONE: [turns(4.0, workers=1), turns(8.0, workers=1)],
    RIVAL: [turns(3.0, workers=1), turns(6.0, workers=1)],
    PIPELINE: [turns(2.0, fill=2.0), turns(4.0, fill=4.0)],
    TWO: [turns(2.5), turns(5.0)],
    FOUR: [turns(2.0), turns(4.0)],
}
BY_NAME = {contender.name: rounds for contender, rounds in ROUNDS.items()}
BEST = best_of_each_method(list(ROUNDS), BY_NAME)


def test_the_fastest_number_of_micro_batches_counts() -> None:
    assert BEST == [ALONE, RIVAL, PIPELINE, FOUR]


@pytest.mark.parametrize(
    ("contender", "expected"),
    [
        (PIPELINE, {"speed_up": 2.0, "speed_up_with_fill": 12 / 8, "over_backprop": 1.5, "efficiency": 1.0, "workers": 2}),
        (PIPELINE, {"images_per_second": 10 / 3, "images_per_second_with_fill": 10 / 4, "step_ms": 3000, "sent_bytes": 20}),
        (PIPELINE, {"step_quartiles_ms": (2500, 3500), "idle": (0.0, 0.0), "best": True, "rounds": 2}),
        (ALONE, {"speed_up": 1.0, "over_backprop": 0.75, "idle": (0.0,), "workers": 1}),
        (TWO, {"speed_up": 1.2, "over_backprop": 1.2, "best": False}),
    ],
)
def test_a_row_compares_with_the_same_way_of_learning_and_with_backpropagation(
    contender: Procedure, expected: dict[str, object]
) -> None:
    row = pipeline_row(Workload(model="mlp", stages=(4,), blocks=4, batch_size=10), contender, BY_NAME, BEST)
    for key, value in expected.items():
        assert row[key] == pytest.approx(value), key


MLP = Workload(model="mlp", blocks=4, stages=(4,), width=32, batch_size=16, image_size=4)
SETTINGS = PipelineSettings(stages=4, micro_batches=(2,), rounds=1)


def memory_of(rank: int, contender: Procedure) -> list[int] | None:
    measured = take_memory(MLP, contender, SETTINGS, {SID: [1.0] * 4, BACKPROP: [1.0] * 4})
    return measured and [kept for _, kept in measured]


def test_memory_of_those_that_take_part() -> None:
    methods = (Procedure(SID_ALONE, 4), Procedure(SID_PIPELINE, 4), Procedure(GPIPE, 4, micro_batches=4))
    found = {each.method: in_workers(partial(memory_of, contender=each)) for each in methods}
    assert all(other is None for _, other in found.values())
    (alone,), pipelined, gpipe = (first for first, _ in found.values())
    assert pipelined[0] == alone  # the largest stage; the second worker's graph also holds the message that it reads
    assert len(gpipe) == 2
    assert min(gpipe) > 0
