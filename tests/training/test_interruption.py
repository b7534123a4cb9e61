import os
import signal
import threading

import pytest

from torchsid.training import interruption
from torchsid.training.interruption import CheckpointTiming, PipelineLearner, StopRequest, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_the_program(number: signal.Signals) -> None:
    handler = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is handler


def test_other_threads_train_without_handlers() -> None:
    noted = []

    def work() -> None:
        with stop_on_signal() as stop:
            noted.append(stop.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]


class Wire:
    """Takes a number to the other workers."""

    request = 0
    assignment = (range(1),)

    def settle(self) -> None:
        raise AssertionError("nobody asked")


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(interruption, "time", clock := Clock())
    return clock


def test_one_process_saves_when_the_seconds_have_passed_or_a_signal_has_come(clock: Clock) -> None:
    stop = StopRequest()
    timing, patient = CheckpointTiming(stop, 10), CheckpointTiming(stop, 0)
    due = []
    for clock.now in (9.0, 10.0, 11.0):
        timing.before_step()
        due.append((timing.is_due(), patient.is_due()))
    assert due == [(False, False), (True, False), (True, False)]
    timing.saved()
    assert not timing.is_due()
    assert timing.signal is None
    stop.signal = signal.SIGTERM
    assert patient.is_due()
    assert patient.signal == signal.SIGTERM


def test_workers_obey_what_came_with_the_batch_and_nothing_else(clock: Clock) -> None:
    """The first decides before the step; what happens during it waits for the next one."""
    stop, wire = StopRequest(), Wire()
    assert isinstance(wire, PipelineLearner)
    first, late = workers = CheckpointTiming(stop, 10, wire), CheckpointTiming(StopRequest(), 10, wire)
    first.before_step()
    clock.now = 10.0
    assert [each.is_due() for each in workers] == [False, False]
    first.before_step()
    assert [each.is_due() for each in workers] == [True, True]
    assert first.signal is late.signal is None
    first.saved()
    first.before_step()
    stop.signal = signal.SIGINT
    assert [each.is_due() for each in workers] == [False, False]
    first.before_step()
    assert [each.is_due() for each in workers] == [True, True]
    assert first.signal == late.signal == signal.SIGINT


class Everyone:
    """Three workers, of which this is the second."""

    def gather(self, value: int | None) -> list[int | None]:
        return [None, value, signal.SIGTERM]


@pytest.mark.parametrize(("own", "obeyed"), [(None, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_at_the_end_of_an_epoch_all_obey_a_signal_that_came_to_any(own: int | None, obeyed: int) -> None:
    stop = StopRequest()
    stop.signal = own
    second, alone = CheckpointTiming(stop, 0, Wire(), Everyone()), CheckpointTiming(stop, 0)
    second.at_epoch_end()
    alone.at_epoch_end()
    assert (second.signal, alone.signal) == (obeyed, own)
