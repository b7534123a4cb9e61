import os
import signal
import threading
from pathlib import Path

import pytest

from torchsid.training.interruption import Interrupted, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_the_program(number: signal.Signals) -> None:
    with stop_on_signal() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_other_threads_train_without_handlers() -> None:
    noted = []

    def work() -> None:
        with stop_on_signal() as stop:
            noted.append(stop.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]


def test_an_interruption_names_run_and_signal() -> None:
    error = Interrupted(Path("runs/digits"), 15)
    assert (error.run, error.signal) == (Path("runs/digits"), 15)
    assert "runs/digits" in str(error)
