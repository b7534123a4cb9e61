"""When a run is saved or stops: between two steps, and on all workers between the same two."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torchsid.training import Interrupted, RunDirectory, session
from torchsid.training.session import Session, StopRequest, stop_on_signal

from .conftest import Recorder


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


class Counting(Session):
    """A session that is only counted when it is saved; the clock stands at `now`."""

    saves, now, up_to_date = 0, 0.0, False

    def __init__(self, every: float = 0, pipeline: Any = None, world: Any = None) -> None:
        config = SimpleNamespace(training=SimpleNamespace(checkpoint_every_seconds=every))
        self.setup: Any = SimpleNamespace(config=config, pipeline=pipeline, world=world)
        self.run, self.reporter, self.stop, self.saved_at = RunDirectory(Path("run")), Recorder(), StopRequest(), 0.0

    def read(self) -> None:
        self.up_to_date = True

    def save(self, which: str) -> None:
        assert self.up_to_date
        self.up_to_date = False
        self.saves, self.saved_at = self.saves + 1, Counting.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.time, "perf_counter", lambda: Counting.now)
    monkeypatch.setattr(Counting, "now", 0.0)


def test_one_process_saves_when_the_seconds_have_passed_or_a_signal_has_come() -> None:
    often, patient, saved = Counting(10), Counting(0), []
    for Counting.now in (9.0, 10.0, 11.0, 21.0):
        often.after_step()
        patient.after_step()
        saved.append((often.saves, patient.saves))
    assert saved == [(0, 0), (1, 0), (1, 0), (2, 0)]
    patient.stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        patient.after_step()
    assert patient.saves == 1


def test_workers_obey_what_came_with_the_batch_and_nothing_else() -> None:
    """The first decides before the step; what happens during it waits for the next one."""
    wire = SimpleNamespace(request=0)  # takes a number to the other workers, and nothing else
    first, late = Counting(10, wire), Counting(10, wire)
    first.before_step()
    Counting.now = 10.0
    for saves in (0, 1, 1):
        first.after_step()
        late.after_step()
        assert (first.saves, late.saves) == (saves, saves)
        first.before_step()
    first.stop.signal = signal.SIGINT
    first.after_step()
    first.before_step()
    for each in (first, late):
        with pytest.raises(Interrupted):
            each.after_step()


def test_at_the_end_of_an_epoch_all_obey_a_signal_that_came_to_any() -> None:
    with pytest.raises(Interrupted) as caught:
        Counting(world=SimpleNamespace(gather=lambda own: [None, own, signal.SIGTERM])).heed_signals()
    assert caught.value.signal == signal.SIGTERM
    Counting().heed_signals()
