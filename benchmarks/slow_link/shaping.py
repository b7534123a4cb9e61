"""When a packet may leave a line of given delay, rate and buffer: pure functions of the packets and the time."""

from collections import deque
from collections.abc import Iterator
from math import inf


class TokenBucket:
    """Limits a flow to `rate` bytes a second: in any t seconds at most `burst + rate·t` bytes pass.

    Tokens, one a byte, trickle in at `rate` up to `burst`; a packet passes as soon as there are as many as it has bytes. It may
    be larger than `burst`: then the bucket goes into debt for it, and the bound has its size in place of `burst`.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._time = burst, -inf

    def pass_time(self, size: int, now: float) -> float:
        """Return when a packet of `size` bytes, here at `now`, passes: at once or later. Later packets queue behind it."""
        start = max(now, self._time)
        self._tokens = min(self.burst, self._tokens + self.rate * (start - self._time))
        wait = max(0.0, min(size, self.burst) - self._tokens) / self.rate
        self._time = start + wait
        self._tokens += wait * self.rate - size
        return self._time


class DelayLine:
    """One direction of a line: first in, first out, every packet held for `delay` seconds after the bucket let it pass.

    At most `capacity` bytes are inside; what comes then is dropped and counted, as by a router.
    """

    def __init__(self, delay: float, capacity: float, bucket: TokenBucket | None = None) -> None:
        self.delay, self.capacity, self.bucket = delay, capacity, bucket
        self.held = self.carried = self.dropped = 0  # bytes inside, bytes delivered, packets dropped
        self._packets: deque[tuple[float, bytes]] = deque()

    def put(self, packet: bytes, now: float) -> None:
        """Take in a packet that arrives at `now` seconds."""
        if self.held + len(packet) > self.capacity:
            self.dropped += 1
            return
        passes = self.bucket.pass_time(len(packet), now) if self.bucket else now
        self._packets.append((passes + self.delay, packet))
        self.held += len(packet)

    def due(self) -> float:
        """Return when the next packet leaves; infinity when there is none."""
        return self._packets[0][0] if self._packets else inf

    def take(self, now: float) -> Iterator[bytes]:
        """Yield the packets that have to leave by `now`, in order of arrival."""
        while self._packets and self._packets[0][0] <= now:
            packet = self._packets.popleft()[1]
            self.held -= len(packet)
            self.carried += len(packet)
            yield packet
