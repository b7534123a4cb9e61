"""The process between the two ends: reads packets from one TUN device and writes them to the other, later.

    python -m slow_link.relay NAME DELAY_S RATE_BITS        (RATE_BITS 0: no limit)

Says `ready` on standard output when both ends are up and answers every line on standard input with its counters as JSON. Ends when
standard input does, however the parent died, and takes namespaces, devices and whatever still runs in them with it.
"""

import json
import os
import select
import signal
import sys
import time

from slow_link.namespaces import MTU, create, ends, remove
from slow_link.shaping import DelayLine, TokenBucket

QUEUE_S = 0.25  # what a limited line buffers in front of the bottleneck, in seconds at its rate: as internet routers do
UNLIMITED_BYTES = 512 * 2**20  # of memory, a direction
PACKETS_A_TURN = 64  # read from one side before the other has its turn


def new_line(delay_s: float, rate_bits: float) -> DelayLine:
    """Return one direction."""
    if not rate_bits:
        return DelayLine(delay_s, UNLIMITED_BYTES)
    rate = rate_bits / 8
    return DelayLine(delay_s, max(rate * (delay_s + QUEUE_S), 4 * MTU), TokenBucket(rate, burst=MTU))


def relay(files: tuple[int, int], lines: tuple[DelayLine, DelayLine]) -> None:
    """Carry packets, `lines[i]` away from `files[i]`, until standard input ends."""
    control = sys.stdin.fileno()
    while True:
        timeout = min(line.due() for line in lines) - time.monotonic()
        readable, _, _ = select.select([*files, control], [], [], None if timeout == float("inf") else max(0.0, timeout))
        for file, line in zip(files, lines, strict=True):
            if file in readable:
                _read(file, line)
        for file, line in zip(reversed(files), lines, strict=True):
            for packet in line.take(time.monotonic()):
                os.write(file, packet)
        if control in readable:
            if not os.read(control, 4096):
                return
            print(json.dumps([{"bytes": line.carried, "dropped": line.dropped} for line in lines]), flush=True)


def _read(file: int, line: DelayLine) -> None:
    try:
        for _ in range(PACKETS_A_TURN):
            line.put(os.read(file, MTU), time.monotonic())
    except BlockingIOError:
        return


def main() -> None:
    name, delay_s, rate_bits = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    here, there = ends(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the parent, which then closes standard input
    os.nice(-10)  # a line does not wait for a processor
    try:
        files = create(here, there), create(there, here)
        print("ready", flush=True)
        relay(files, (new_line(delay_s, rate_bits), new_line(delay_s, rate_bits)))
    finally:
        remove((here, there))


if __name__ == "__main__":
    main()
