"""A run that is asked to stop by a signal stops between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a complete step; it is saved, and `--resume` goes on from there.

    Attributes:
        run: the run directory.
        signal: the number of the signal.
    """

    def __init__(self, run: Path, number: int) -> None:
        super().__init__(f"interrupted; saved in {run}")
        self.run, self.signal = run, number


class StopRequest:
    """Which signal has asked the run to stop; None as long as none has."""

    signal: int | None = None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, the first SIGINT or SIGTERM is only noted; a second one ends the program at once.

    Python allows signal handlers in the main thread alone; elsewhere no signal is noted.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
