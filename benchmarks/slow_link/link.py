"""`slow_link`: a line with a delay and a rate, there for as long as the context is open."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from slow_link.namespaces import End, LinkError, check, ends, remove


class Counters(TypedDict):
    """Of one direction since the line is up."""

    bytes: int
    """Delivered, headers included."""
    dropped: int
    """Packets that found the buffer full."""


@dataclass(frozen=True)
class Link:
    """A line that is up. Run programs at its ends with `link.ends[i].inside(…)`."""

    ends: tuple[End, End]
    delay_s: float
    rate_bits: float | None
    relay: "subprocess.Popen[str]" = field(repr=False)

    def counters(self) -> tuple[Counters, Counters]:
        """Return what went from end 0 to end 1, and back."""
        assert self.relay.stdin is not None
        assert self.relay.stdout is not None
        self.relay.stdin.write("\n")
        self.relay.stdin.flush()
        there, back = json.loads(self.relay.stdout.readline())
        return there, back


@contextmanager
def slow_link(delay_s: float, rate_bits: float | None = None, *, name: str = "torchsid") -> Iterator[Link]:
    """Join two network namespaces by a line that takes `delay_s` seconds one way and carries `rate_bits` bits a second each way.

    Args:
        delay_s: 0 or more; a round trip takes twice that, and what the relay itself needs (about 0.1 ms).
        rate_bits: None does not limit it.
        name: of the namespaces, `NAME-0` and `NAME-1`; two lines at a time need two names.

    Raises:
        LinkError: the machine cannot have it; lists what is missing.
    """
    if delay_s < 0 or (rate_bits is not None and rate_bits <= 0):
        raise ValueError(f"a line has delay_s >= 0 and rate_bits > 0 or None, not {delay_s=} and {rate_bits=}")
    line = ends(name)
    check(line)
    relay = subprocess.Popen(
        [sys.executable, "-m", "slow_link.relay", name, str(delay_s), str(rate_bits or 0)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert relay.stdin is not None
    assert relay.stdout is not None
    try:
        if relay.stdout.readline() != "ready\n":
            raise LinkError("the relay did not start; see its message above")
        yield Link(line, delay_s, rate_bits, relay)
    finally:
        relay.stdin.close()
        try:
            relay.wait(timeout=20)
        finally:
            relay.kill()
            relay.wait()
            relay.stdout.close()
            remove(line)
