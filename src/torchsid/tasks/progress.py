"""How far something is that takes a while, for whoever listens to the log; and a pool of threads that does not run ahead."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from torchsid.show.tables import duration

S = TypeVar("S")
T = TypeVar("T")

_EVERY = 10  # seconds
say = logging.getLogger(__name__).info


class Progress:
    """Says every ten seconds how much of something is done, and how long the rest may take.

    Attributes:
        what: is done.
        total: how much there is of it, in any unit.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._began = self._said = time.monotonic()

    def add(self, count: int) -> None:
        """Count what is done."""
        self.done += count
        now = time.monotonic()
        if now - self._said >= _EVERY and self.done:
            self._said = now
            left = (now - self._began) * (self.total - self.done) / self.done
            say("%s: %d %%, about %s left", self.what, 100 * self.done // self.total, duration(left))


def volume(count: int) -> str:
    """Return a number of bytes for people.

    >>> volume(0), volume(15_743_000_000)
    ('0.0 GiB', '14.7 GiB')
    """
    return f"{count / 2**30:.1f} GiB" if not 0 < count < 2**30 else f"{-(-count // 2**20)} MiB"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bounded(pool: Executor, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield what a pool's `map` does, of which only a few results wait to be taken."""
    waiting = deque[Future[T]]()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()
