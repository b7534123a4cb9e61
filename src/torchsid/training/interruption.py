"""When a run is saved or stopped: between two steps, and on all workers between the same two."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torchsid.distributed.world import World

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAVE = -1  # a request that is no signal


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


@runtime_checkable
class PipelineLearner(Protocol):
    """A learner whose stages are spread over several workers, of which this process is one."""

    request: int
    """A number that goes from the first worker to all others together with a batch."""
    assignment: Sequence[range]
    """The stages of every position."""

    def settle(self) -> None:
        """Wait for what still changes this worker's weights."""


class CheckpointTiming:
    """Decides after every step whether the run is saved now, and whether it stops.

    One process decides when the step is done. Of several workers the first decides before the step, and the decision travels with
    the batch, because the others are at earlier steps.

    Args:
        stop: which signal has come.
        every_seconds: between two checkpoints within an epoch; 0 for none.
        carrier: takes the decision to the other workers; None in one process.
        world: the other workers; None in one process.
    """

    signal: int | None = None
    """The signal that all workers have agreed to obey."""

    def __init__(
        self, stop: StopRequest, every_seconds: float, carrier: PipelineLearner | None = None, world: "World | None" = None
    ) -> None:
        self._stop, self._seconds, self._carrier, self._world = stop, every_seconds, carrier, world
        self.saved()

    def saved(self) -> None:
        """Count the seconds from now on."""
        self._saved = time.perf_counter()

    def before_step(self) -> None:
        """Let the first worker decide."""
        if self._carrier:
            self._carrier.request = self._request()

    def is_due(self) -> bool:
        """Return whether the run is to be saved after this step."""
        request = self._carrier.request if self._carrier else self._request()
        self.signal = request if request > 0 else None
        return request != 0

    def at_epoch_end(self) -> None:
        """Obey a signal that came to any worker."""
        signals = self._world.gather(self._stop.signal) if self._world else [self._stop.signal]
        self.signal = next((signal for signal in signals if signal is not None), None)

    def _request(self) -> int:
        seconds = time.perf_counter() - self._saved
        return self._stop.signal or (_SAVE if 0 < self._seconds <= seconds else 0)
