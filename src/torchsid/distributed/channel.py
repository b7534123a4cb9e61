"""One way from a worker to another: handovers as messages of one size, a bounded number of them under way.

A message is one buffer: a header in JSON, then the tensors one after the other. Both ends hold `queue` buffers. The receiver
posts all of them before anything arrives, so that a message never waits for a question and its answer: a deep enough queue hides
any delay of the link. The sender returns at once until all its buffers are under way, and then waits for the oldest: a slow
worker slows the others, and memory does not grow.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from torchsid.distributed.diagnosis import explaining, finish
from torchsid.distributed.world import World

Wire = Literal["float32", "bfloat16"]
_ALIGNMENT = 64
_LENGTH = 8  # bytes that hold the length of the header
_SLACK = 1024  # bytes by which the numbers in a header may grow


@dataclass(frozen=True)
class Handover:
    """What one worker hands to the next.

    The random state travels along while a network trains, because in one process the stages draw (dropout) from one generator, one
    after the other.

    Attributes:
        values: what crosses: tensors, and plain numbers, texts and None.
        log_beliefs: `p_0 … p_i`, `[i+1, B, ..., C]`; empty, `[0]`, where no stage has run. Where logits wait, the hidden states
            `h_1 … h_i` that they follow from, `[i, B, ..., D]`, and in training the newest alone, or none if nobody learns from it.
        stage_losses: of the stages so far, `[i]`; empty outside training.
        trains: whether it belongs to a training step.
        request: travels with a batch from the first worker to the last.
        answers: the likeliest outcomes after the stages so far, int32 `[i, B, ...]`, where no beliefs tell them; else empty.
    """

    values: tuple[Any, ...]
    log_beliefs: Tensor
    stage_losses: Tensor
    trains: bool = False
    request: int = 0
    answers: Tensor = field(default_factory=lambda: torch.empty(0))

    def followed_by(
        self, log_beliefs: Sequence[Tensor], stage_losses: Sequence[Tensor], answers: Sequence[Tensor] = ()
    ) -> "Handover":
        """Return this without values, after more stages: each has a belief `[B, ..., C]` and in training a loss and answers."""
        beliefs = torch.cat([self.log_beliefs, *(each.unsqueeze(0) for each in log_beliefs)])
        losses = torch.cat([self.stage_losses, *(each.view(1) for each in stage_losses)])
        said = torch.cat([self.answers.int(), *(each.int().unsqueeze(0) for each in answers)])
        return replace(self, values=(), log_beliefs=beliefs, stage_losses=losses, answers=said)


class _End:
    """One end of a channel."""

    def __init__(
        self, world: World, peer: int, largest: Handover, buffers: int, tag: int, device: torch.device | None, what: str
    ) -> None:
        self._world, self._peer, self._tag, self._what = world, peer, tag, f"worker {peer} to {what}"
        self._group, self._device = world.mesh.get_group("stage"), device or world.device
        tensors, facts = _encode(largest, "float32", world.device)
        capacity = _aligned(_LENGTH + len(_header(tensors, facts))) + sum(_aligned(each.nbytes) for each in tensors) + _SLACK
        self._buffers = [torch.empty(capacity, dtype=torch.uint8, device=self._device) for _ in range(buffers)]
        self._under_way: list[dist.Work | None] = [None] * buffers
        self._next = 0

    def _finish(self, slot: int) -> None:
        if work := self._under_way[slot]:
            finish(work, self._world, self._what)
            self._under_way[slot] = None


class Outgoing(_End):
    """Sends to another worker.

    Args:
        world: this worker's place; messages go `step` positions along the `stage` axis.
        largest: a handover of the largest size, of features in full precision.
        queue: the most messages under way, 1 or more.
        wire: `"bfloat16"` rounds float32 values; beliefs and losses stay as they are.
        step: 1 is the next position; −k goes back k positions.
        tag: tells apart the channels between two workers.
        device: of the buffers; the worker's by default. What comes against the stream of features goes by the processor's: NCCL has
            one queue for both ways.
    """

    def __init__(
        self,
        world: World,
        largest: Handover,
        *,
        queue: int,
        wire: Wire = "float32",
        step: int = 1,
        tag: int = 0,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(world, world.neighbour(step), largest, queue, tag, device, "take a message")
        self._wire = wire
        self.sent_bytes = 0
        """Of all messages so far."""

    def send(self, handover: Handover) -> None:
        """Copy a handover and start sending it; waits while `queue` messages are under way.

        Raises:
            WorkerError: the peer hangs or has gone.
        """
        slot = self._next
        self._finish(slot)
        used = _pack(self._buffers[slot], *_encode(handover, self._wire, self._world.device))
        # NCCL wants both ends to name the same size; gloo sends what is there.
        part = self._buffers[slot] if self._device.type == "cuda" else self._buffers[slot][:used]
        with explaining(self._world, self._what):
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


class Incoming(_End):
    """Receives from the worker `step` positions behind; arguments as `Outgoing`."""

    def __init__(
        self,
        world: World,
        largest: Handover,
        *,
        queue: int,
        step: int = 1,
        tag: int = 0,
        device: torch.device | None = None,
    ) -> None:
        # One more buffer than are under way: the last message received is still in use.
        super().__init__(world, world.neighbour(-step), largest, queue + 1, tag, device, "send a message")
        for slot in range(queue):
            self._post(slot)

    def receive(self) -> Handover:
        """Return the next handover and take over its random state; its tensors lie in a buffer that the next call gives away.

        Raises:
            WorkerError: the peer hangs or has gone.
        """
        slot = self._next
        self._post(slot - 1)
        self._finish(slot)
        self._next = (slot + 1) % len(self._buffers)
        return _decode(*_unpack(self._buffers[slot]), self._world.device)

    def _post(self, slot: int) -> None:
        with explaining(self._world, self._what):
            self._under_way[slot] = dist.irecv(self._buffers[slot], self._peer, group=self._group, tag=self._tag)


def _encode(handover: Handover, wire: Wire, device: torch.device) -> tuple[list[Tensor], dict[str, Any]]:
    """Return a message's tensors, and the facts that JSON holds: each value, or the type of its tensor, and the request."""
    values = [{"dtype": _name(value.dtype)} if isinstance(value, Tensor) else {"value": value} for value in handover.values]
    tensors = [
        value.bfloat16() if wire == "bfloat16" and value.dtype == torch.float32 else value
        for value in handover.values
        if isinstance(value, Tensor)
    ]
    tensors += [handover.log_beliefs, handover.stage_losses, handover.answers]
    if handover.trains:
        tensors += [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    return tensors, {"values": values, "trains": handover.trains, "request": handover.request}


def _decode(tensors: Sequence[Tensor], facts: Mapping[str, Any], device: torch.device) -> Handover:
    left = iter(tensors)
    values = tuple(next(left).to(getattr(torch, each["dtype"])) if "dtype" in each else each["value"] for each in facts["values"])
    beliefs, losses, answers = next(left), next(left), next(left)
    handover = Handover(values, beliefs, losses, facts["trains"], facts["request"], answers)
    if handover.trains:
        torch.set_rng_state(next(left).cpu().clone())
    for state in left:
        torch.cuda.set_rng_state(state.cpu().clone(), device)
    return handover


def _pack(buffer: Tensor, tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> int:
    """Write a message into the buffer and return its bytes."""
    header = _header(tensors, facts)
    length = len(header).to_bytes(_LENGTH, "little")
    buffer[: _LENGTH + len(header)] = torch.frombuffer(bytearray(length + header), dtype=torch.uint8)
    start = _aligned(_LENGTH + len(header))
    for tensor in tensors:
        assert start + tensor.nbytes <= buffer.nbytes, "a message is larger than the capacity of its channel"
        place = buffer[start : start + tensor.nbytes].view(tensor.dtype)
        place.as_strided(tensor.shape, _strides(tensor)).copy_(tensor.detach())
        start += _aligned(tensor.nbytes)
    return start


def _unpack(buffer: Tensor) -> tuple[list[Tensor], Mapping[str, Any]]:
    length = int.from_bytes(bytes(buffer[:_LENGTH].tolist()), "little")
    header = json.loads(bytes(buffer[_LENGTH : _LENGTH + length].tolist()))
    start, tensors = _aligned(_LENGTH + length), []
    for name, shape, strides in header["tensors"]:
        dtype: torch.dtype = getattr(torch, name)
        size = torch.Size(shape).numel() * dtype.itemsize
        tensors.append(buffer[start : start + size].view(dtype).as_strided(shape, strides))
        start += _aligned(size)
    return tensors, header["facts"]


def _header(tensors: Sequence[Tensor], facts: Mapping[str, Any]) -> bytes:
    layout = [(_name(tensor.dtype), list(tensor.shape), _strides(tensor)) for tensor in tensors]
    return json.dumps({"tensors": layout, "facts": dict(facts)}).encode()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _strides(tensor: Tensor) -> list[int]:
    """Return the memory layout, without gaps: results depend on it in the last digits."""
    return list(torch.empty_like(tensor, device="meta").stride())


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
