import os
import signal
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

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
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: stop_on_signal().__enter__().signal).result() is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The seconds that have passed, to be set as `now`."""
    time = SimpleNamespace(now=0.0)
    time.perf_counter = lambda: time.now
    monkeypatch.setattr(interruption, "time", time)
    return time


@pytest.fixture
def wire() -> Any:
    """Takes a number to the other workers, and nothing else."""
    return SimpleNamespace(request=0, assignment=(range(1),), settle=print)


def test_one_process_saves_when_the_seconds_have_passed_or_a_signal_has_come(clock: Any) -> None:
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


def test_workers_obey_what_came_with_the_batch_and_nothing_else(clock: Any, wire: Any) -> None:
    """The first decides before the step; what happens during it waits for the next one."""
    stop = StopRequest()
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


@pytest.mark.parametrize(("own", "obeyed"), [(None, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_at_the_end_of_an_epoch_all_obey_a_signal_that_came_to_any(wire: Any, own: int | None, obeyed: int) -> None:
    stop, everyone = StopRequest(), SimpleNamespace(gather=lambda value: [None, value, signal.SIGTERM])
    stop.signal = own
    second, alone = CheckpointTiming(stop, 0, wire, everyone), CheckpointTiming(stop, 0)  # type: ignore[arg-type]
    second.at_epoch_end()
    alone.at_epoch_end()
    assert (second.signal, alone.signal) == (obeyed, own)
