import pytest

from torchsid.bench.pipeline.turns import (
    Interval,
    Turn,
    idle_shares,
    lanes,
    sent_a_step,
    steady_step_seconds,
    step_seconds,
)

# Two workers, one second a step each: the pipeline fills for a second, and the last worker pauses for half a second in step 3.
FIRST = Turn(
    start=10.0,
    end=15.5,
    ends=(11.0, 12.0, 13.0, 14.0),
    busy=tuple(Interval("forward", 10.0 + k, 11.0 + k) for k in range(4)),
    sent_bytes=400,
)
LAST = Turn(
    start=10.0,
    end=15.5,
    ends=(12.0, 13.0, 14.5, 15.5),
    busy=(
        Interval("forward", 11.0, 12.0),
        Interval("backward", 12.0, 13.0),
        Interval("forward", 13.5, 14.5),
        Interval("update", 14.5, 15.5),
    ),
)
IDLE = Turn(start=10.0, end=15.5, ends=(), busy=())


def test_paces() -> None:
    assert step_seconds([FIRST, LAST]) == pytest.approx(5.5 / 4)
    assert steady_step_seconds([FIRST, LAST]) == pytest.approx(3.5 / 3)
    assert steady_step_seconds([FIRST, IDLE]) == pytest.approx(1.0)


def test_idle_shares_are_of_the_time_in_which_the_pipeline_is_full() -> None:
    assert idle_shares([FIRST, LAST]) == pytest.approx([0.0, 0.25])  # between 12 and 14
    assert idle_shares([FIRST, IDLE]) == pytest.approx([0.0])


def test_a_pipeline_that_never_was_full_has_no_idle_share() -> None:
    late = Turn(start=10.0, end=20.0, ends=(15.0, 20.0), busy=(Interval("forward", 14.0, 20.0),))
    assert idle_shares([FIRST, late]) is None


def test_bytes() -> None:
    assert sent_a_step([FIRST, LAST]) == 100


def test_lanes_show_what_happens_until_the_first_steps_are_done() -> None:
    first, last = lanes([FIRST, LAST], 2)
    assert first == [("forward", 0.0, 1.0), ("forward", 1.0, 2.0), ("forward", 2.0, 3.0)]  # its step 3 goes on meanwhile
    assert last == [("forward", 1.0, 2.0), ("backward", 2.0, 3.0)]
    assert lanes([FIRST, LAST], 3)[0][-1] == ("forward", 3.0, 4.0)
    assert len(lanes([FIRST, IDLE], 99)) == 1
