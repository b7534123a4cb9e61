import signal

import pytest

from torchsid.training import pace
from torchsid.training.interruption import StopRequest
from torchsid.training.pace import Pace, Pipeline


class Wire:
    """Takes a number to the other workers."""

    request = 0
    assignment = (range(1),)

    def settle(self) -> None:
        raise AssertionError("nobody asked")

    flush = settle


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace.time, "perf_counter", clock.perf_counter)
    return clock


def test_one_process_pauses_when_the_seconds_have_passed(clock: Clock) -> None:
    one = Pace(StopRequest(), 10)
    pauses = []
    for clock.now in (9.0, 10.0, 11.0):
        one.before_step()
        pauses.append(one.pauses())
    assert pauses == [False, True, True]
    one.saved()
    assert not one.pauses()
    assert one.signal is None


def test_without_seconds_only_a_signal_pauses(clock: Clock) -> None:
    stop = StopRequest()
    one = Pace(stop, 0)
    clock.now = 1e9
    assert not one.pauses()
    stop.signal = signal.SIGTERM
    assert one.pauses()
    assert one.signal == signal.SIGTERM


def test_workers_obey_what_came_with_the_batch_and_nothing_else(clock: Clock) -> None:
    """The first decides before the step; what happens during it waits for the next one."""
    stop, wire = StopRequest(), Wire()
    assert isinstance(wire, Pipeline)
    first, late = Pace(stop, 10, wire), Pace(StopRequest(), 10, wire)
    first.before_step()
    stop.signal, clock.now = signal.SIGINT, 10.0
    assert not first.pauses()
    assert not late.pauses()
    first.before_step()
    assert wire.request == signal.SIGINT
    assert first.pauses()
    assert late.pauses()
    assert first.signal == late.signal == signal.SIGINT


def test_a_checkpoint_is_asked_for_without_a_stop(clock: Clock) -> None:
    wire = Wire()
    first, late = Pace(StopRequest(), 10, wire), Pace(StopRequest(), 10, wire)
    clock.now = 10.0
    first.before_step()
    assert first.pauses()
    assert late.pauses()
    assert first.signal is late.signal is None
    first.saved()
    first.before_step()
    assert wire.request == 0
    assert not late.pauses()


class Everyone:
    """Three workers, of which this is the second."""

    def gather(self, value: int | None) -> list[int | None]:
        return [None, value, signal.SIGTERM]


@pytest.mark.parametrize(("own", "obeyed"), [(None, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_at_the_end_of_an_epoch_all_obey_a_signal_that_came_to_any(own: int | None, obeyed: int) -> None:
    stop = StopRequest()
    stop.signal = own
    second = Pace(stop, 0, Wire(), Everyone())
    second.at_epoch_end()
    assert second.signal == obeyed
    alone = Pace(stop, 0)
    alone.at_epoch_end()
    assert alone.signal == own
