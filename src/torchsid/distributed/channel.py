"""One way from a worker to the next: messages of one size, a bounded number of them under way.

A message is one buffer: a header in JSON, then the tensors one after the other. Both ends hold `queue` buffers. The receiver
posts all of them before anything arrives, so that a message never waits for a question and its answer: a deep enough queue hides
any delay of the link. The sender returns at once until all its buffers are under way, and then waits for the oldest: a slow
worker slows the others, and memory does not grow.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from torchsid.distributed.diagnosis import explaining, finish
from torchsid.distributed.world import World

_ALIGNMENT = 64
_LENGTH = 8  # bytes that hold the length of the header


@dataclass(frozen=True)
class Message:
    """Tensors, and facts that JSON can hold."""

    tensors: tuple[Tensor, ...]
    facts: Mapping[str, Any]


def size_of(tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> int:
    """Return the bytes of a message."""
    return _aligned(_LENGTH + len(_header(tensors, facts))) + sum(_aligned(tensor.nbytes) for tensor in tensors)


class Outgoing:
    """Sends to the next worker.

    Args:
        world: this worker's place; messages go `step` positions along the `stage` axis.
        capacity: bytes of the largest message.
        queue: the most messages under way, 1 or more.
        step: 1 is the next position; −k goes back k positions.
        tag: tells apart the channels between two workers.
    """

    def __init__(self, world: World, *, capacity: int, queue: int, step: int = 1, tag: int = 0) -> None:
        self._world, self._peer, self._tag = world, world.neighbour(step), tag
        self._group = world.mesh.get_group("stage")
        self._buffers = [torch.empty(capacity, dtype=torch.uint8, device=world.device) for _ in range(queue)]
        self._under_way: list[dist.Work | None] = [None] * queue
        self._next = 0
        self.sent_bytes = 0
        """Of all messages so far."""

    def send(self, tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> None:
        """Copy a message and start sending it; waits while `queue` messages are under way.

        Raises:
            WorkerError: the peer hangs or has gone.
        """
        slot = self._next
        self._finish(slot)
        used = _pack(self._buffers[slot], tensors, facts)
        # NCCL wants both ends to name the same size; gloo sends what is there.
        part = self._buffers[slot] if self._world.device.type == "cuda" else self._buffers[slot][:used]
        with explaining(self._world, f"worker {self._peer} to take a message"):
            self._under_way[slot] = dist.isend(part, self._peer, group=self._group, tag=self._tag)
        self._next = (slot + 1) % len(self._buffers)
        self.sent_bytes += used

    def flush(self) -> None:
        """Wait until everything has been sent.

        Raises:
            WorkerError: the peer hangs or has gone.
        """
        for slot in range(len(self._buffers)):
            self._finish(slot)

    def _finish(self, slot: int) -> None:
        work = self._under_way[slot]
        if work is not None:
            finish(work, self._world, f"worker {self._peer} to take a message")
            self._under_way[slot] = None


class Incoming:
    """Receives from the worker before; arguments as `Outgoing`, which `step` positions behind sends here."""

    def __init__(self, world: World, *, capacity: int, queue: int, step: int = 1, tag: int = 0) -> None:
        self._world, self._peer, self._tag = world, world.neighbour(-step), tag
        self._group = world.mesh.get_group("stage")
        # One more than are under way: the last message received is still in use.
        self._buffers = [torch.empty(capacity, dtype=torch.uint8, device=world.device) for _ in range(queue + 1)]
        self._expected: list[dist.Work | None] = [self._post(slot) for slot in range(queue)]
        self._expected.append(None)
        self._next = 0

    def receive(self) -> Message:
        """Return the next message; its tensors lie in a buffer that the next call gives away.

        Raises:
            WorkerError: the peer hangs or has gone.
        """
        slot, used_up = self._next, self._next - 1
        self._expected[used_up] = self._post(used_up)
        work = self._expected[slot]
        assert work is not None
        finish(work, self._world, f"worker {self._peer} to send a message")
        self._next = (slot + 1) % len(self._buffers)
        return _unpack(self._buffers[slot])

    def _post(self, slot: int) -> dist.Work:
        with explaining(self._world, f"worker {self._peer} to send a message"):
            work = dist.irecv(self._buffers[slot], self._peer, group=self._group, tag=self._tag)
        assert work is not None
        return work


def _pack(buffer: Tensor, tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> int:
    """Write a message into the buffer and return its bytes."""
    header = _header(tensors, facts)
    length = len(header).to_bytes(_LENGTH, "little")
    buffer[: _LENGTH + len(header)] = torch.frombuffer(bytearray(length + header), dtype=torch.uint8)
    start = _aligned(_LENGTH + len(header))
    for tensor in tensors:
        if start + tensor.nbytes > buffer.nbytes:
            break
        place = buffer[start : start + tensor.nbytes].view(tensor.dtype)
        place.as_strided(tensor.shape, _strides(tensor)).copy_(tensor.detach())
        start += _aligned(tensor.nbytes)
    else:
        return start
    raise AssertionError("a message is larger than the capacity of its channel")


def _unpack(buffer: Tensor) -> Message:
    length = int.from_bytes(bytes(buffer[:_LENGTH].tolist()), "little")
    header = json.loads(bytes(buffer[_LENGTH : _LENGTH + length].tolist()))
    start, tensors = _aligned(_LENGTH + length), []
    for name, shape, strides in header["tensors"]:
        dtype: torch.dtype = getattr(torch, name)
        size = torch.Size(shape).numel() * dtype.itemsize
        tensors.append(buffer[start : start + size].view(dtype).as_strided(shape, strides))
        start += _aligned(size)
    return Message(tuple(tensors), header["facts"])


def _header(tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> bytes:
    layout = [(str(tensor.dtype).removeprefix("torch."), list(tensor.shape), _strides(tensor)) for tensor in tensors]
    return json.dumps({"tensors": layout, "facts": dict(facts)}).encode()


def _strides(tensor: Tensor) -> list[int]:
    """Return the memory layout, without gaps: results depend on it in the last digits."""
    return list(torch.empty_like(tensor, device="meta").stride())


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
