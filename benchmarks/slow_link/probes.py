"""What a line does to plain sockets and to gloo's point-to-point messages: run at both ends by `workers`.

    python -m slow_link.probes JOB

The receiver measures, so that nothing counts before it has arrived; the clock is the machine's, the same for both processes.
"""

import json
import os
import socket
import sys
import time
from collections import deque
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

MIB = 2**20
SOCKET_PORT = 29600
SNDBUFFORCE, RCVBUFFORCE = 32, 33  # Linux: like SO_SNDBUF and SO_RCVBUF, but not bound by net.core.*mem_max


def connect(rank: int, address: str, window: int | None) -> socket.socket:
    """Return a connection between the ranks; `window` fixes the buffers, None leaves them to the kernel."""
    ends = socket.socket()
    if window:
        for option in (SNDBUFFORCE, RCVBUFFORCE):
            ends.setsockopt(socket.SOL_SOCKET, option, window)
    if rank == 0:
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ends.bind((address, SOCKET_PORT))
        ends.listen()
        connection, _ = ends.accept()
        ends.close()
    else:
        connection = ends
        for _ in range(100):
            try:
                connection.connect((address, SOCKET_PORT))
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def round_trip(rank: int, address: str, *, times: int = 10) -> dict[str, Any]:
    """Return the median seconds of one byte there and back."""
    with connect(rank, address, None) as line:
        seconds = []
        for _ in range(times):
            start = time.monotonic()
            if rank == 0:
                line.sendall(b"x")
                line.recv(1)
            else:
                line.recv(1)
                line.sendall(b"x")
            seconds.append(time.monotonic() - start)
    return {"round_trip_s": median(seconds), "least_s": min(seconds)}


def stream(rank: int, address: str, window: int | None, total: int) -> dict[str, Any]:
    """Return the bytes a second of one TCP connection over the second half of `total` bytes, and whether all came in order."""
    count, half = total // MIB, 0.0
    block, buffer, intact = bytearray(bytes(range(256)) * (MIB // 256)), bytearray(MIB), True
    with connect(rank, address, window) as line:
        for index in range(count):
            block[:8] = index.to_bytes(8, "big")
            if rank == 0:
                line.sendall(block)
                continue
            view = memoryview(buffer)
            while view:
                view = view[line.recv_into(view) :]
            intact &= buffer == block
            if index + 1 == count // 2:
                half = time.monotonic()
        seconds = time.monotonic() - half
        if rank == 0:
            line.recv(1)  # not closed before all has arrived
            return {}
        line.sendall(b"x")
    return {"bytes_per_s": (count - count // 2) * MIB / seconds, "intact": intact}


def messages(rank: int, size: int, sends: int, receives: int, count: int) -> dict[str, Any]:
    """Return the seconds a gloo message of `size` bytes takes, over the second half of them.

    The sender has at most `sends` under way, the receiver always `receives` buffers posted.
    """
    ring = [torch.zeros(size // 4) for _ in range(sends if rank == 0 else receives)]
    dist.barrier()
    arrivals, intact = (_send(ring, count), True) if rank == 0 else _receive(ring, count)
    dist.barrier()
    middle = count // 2
    return {"seconds_a_message": (arrivals[-1] - arrivals[middle - 1]) / (count - middle), "intact": intact} if arrivals else {}


def _send(ring: list[torch.Tensor], count: int) -> list[float]:
    works: deque[Any] = deque()
    for index in range(count):
        if len(works) == len(ring):
            works.popleft().wait()
        buffer = ring[index % len(ring)]
        buffer[0] = index
        works.append(dist.isend(buffer, 1))
    for work in works:
        work.wait()
    return []


def _receive(ring: list[torch.Tensor], count: int) -> tuple[list[float], bool]:
    works: deque[Any] = deque(dist.irecv(buffer, 0) for buffer in ring)
    arrivals, intact = [], True
    for index in range(count):
        works.popleft().wait()
        arrivals.append(time.monotonic())
        buffer = ring[index % len(ring)]
        intact &= buffer[0].item() == index
        if index + len(ring) < count:
            works.append(dist.irecv(buffer, 0))
    return arrivals, intact


def main() -> None:
    job = json.loads(sys.argv[1])
    rank, address = int(os.environ["RANK"]), os.environ["MASTER_ADDR"]
    torch.set_num_threads(1)
    result: dict[str, Any] = {"round_trip": round_trip(rank, address)}
    result["stream"] = [{**each, **stream(rank, address, each["window"], each["total"])} for each in job["stream"]]
    dist.init_process_group("gloo")
    result["messages"] = [{**each, **messages(rank, **each)} for each in job["messages"]]
    dist.destroy_process_group()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
