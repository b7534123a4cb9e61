"""When a run is saved or stops: between two steps, and on all workers between the same two."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from torchsid.training import Interrupted, RunDirectory, session
from torchsid.training.session import Progress, Session, StopRequest, stop_on_signal

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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The seconds that have passed, to be set as `now`."""
    time = SimpleNamespace(now=0.0)
    time.perf_counter = lambda: time.now
    monkeypatch.setattr(session, "time", time)
    return time


class Saved(Session):
    """A session that only counts how often it is saved."""

    count = 0

    def save(self, which: str) -> None:
        self.count, self.saved_at = self.count + 1, session.time.perf_counter()


def of(every: float = 0, pipeline: Any = None, world: Any = None) -> Saved:
    config = SimpleNamespace(training=SimpleNamespace(checkpoint_every_seconds=every))
    setup: Any = SimpleNamespace(config=config, pipeline=pipeline, world=world)
    now = session.time.perf_counter()
    about: Any = {"progress": Progress(), "reporter": Recorder(), "stop": StopRequest(), "saved_at": now}
    return Saved(setup=setup, run=RunDirectory(Path("run")), **about)


def test_one_process_saves_when_the_seconds_have_passed_or_a_signal_has_come(clock: Any) -> None:
    often, patient, saved = of(10), of(0), []
    for clock.now in (9.0, 10.0, 11.0, 21.0):
        for each in (often, patient):
            each.before_step()
            each.after_step()
        saved.append((often.count, patient.count))
    assert saved == [(0, 0), (1, 0), (1, 0), (2, 0)]
    patient.stop.signal = signal.SIGTERM
    with pytest.raises(Interrupted) as caught:
        patient.after_step()
    assert (patient.count, caught.value.signal) == (1, signal.SIGTERM)


def test_workers_obey_what_came_with_the_batch_and_nothing_else(clock: Any) -> None:
    """The first decides before the step; what happens during it waits for the next one."""
    wire = SimpleNamespace(request=0)  # takes a number to the other workers, and nothing else
    first, late = workers = of(10, wire), of(10, wire)
    first.before_step()
    clock.now = 10.0
    for count in (0, 1, 1):
        for each in workers:
            each.after_step()
        assert (first.count, late.count) == (count, count)
        first.before_step()
    first.stop.signal = signal.SIGINT
    first.after_step()
    first.before_step()
    for each in workers:
        with pytest.raises(Interrupted):
            each.after_step()
        assert each.count == 2


@pytest.mark.parametrize(("own", "obeyed"), [(None, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_at_the_end_of_an_epoch_all_obey_a_signal_that_came_to_any(own: int | None, obeyed: int) -> None:
    second = of(world=SimpleNamespace(gather=lambda value: [None, value, signal.SIGTERM]))
    second.stop.signal = own
    with pytest.raises(Interrupted) as caught:
        second.after_epoch()
    assert caught.value.signal == obeyed
    of().after_epoch()
