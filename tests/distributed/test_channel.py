"""Messages arrive whole and in order, and no more of them are under way than there are buffers."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.distributed.workers import in_workers
from torch import Tensor

from torchsid.distributed.channel import Incoming, Message, Outgoing, _pack, _unpack, size_of
from torchsid.distributed.world import join

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)
CAPACITY = 100_000


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A tensor of any shape and layout, also one with strides 0 or with nothing in it."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    tensor = torch.randint(0, 200, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
    tensor = tensor.permute(draw(st.permutations(range(len(shape)))))
    if shape and draw(st.booleans()):
        tensor = tensor[..., ::2]
    return tensor.unsqueeze(0).expand(3, *tensor.shape) if draw(st.booleans()) else tensor


facts = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), max_size=4)


@given(st.lists(tensors(), max_size=4), facts)
def test_what_is_packed_is_unpacked(sent: list[Tensor], facts: dict[str, Any]) -> None:
    buffer = torch.full((size_of(sent, facts),), 255, dtype=torch.uint8)  # and not a byte more
    assert _pack(buffer, sent, facts) == len(buffer)
    message = _unpack(buffer)
    assert message.facts == facts
    assert len(message.tensors) == len(sent)
    for received, original in zip(message.tensors, sent, strict=True):
        assert received.dtype == original.dtype
        assert torch.equal(received, original)
        assert received.stride() == torch.empty_like(original).stride()


def test_not_a_number_and_infinity_travel() -> None:
    sent = torch.tensor([float("nan"), float("inf"), -0.0])
    buffer = torch.empty(size_of([sent], {"learning_rate": float("inf")}), dtype=torch.uint8)
    _pack(buffer, [sent], {"learning_rate": float("inf")})
    message = _unpack(buffer)
    assert message.facts == {"learning_rate": float("inf")}
    assert torch.equal(message.tensors[0].view(torch.int32), sent.view(torch.int32))


def test_a_message_over_the_capacity_is_our_mistake() -> None:
    sent = [torch.zeros(100)]
    with pytest.raises(AssertionError, match="larger than the capacity"):
        _pack(torch.empty(size_of(sent, {}) - 64, dtype=torch.uint8), sent, {})


def random_message(number: int) -> Message:
    """Message `number`, of a random size."""
    generator = torch.Generator().manual_seed(number)
    sizes = torch.randint(0, 3000, (int(torch.randint(0, 4, (), generator=generator)),), generator=generator)
    return Message(tuple(torch.randn(int(size), generator=generator) for size in sizes), {"number": number})


def exchange(rank: int, queue: int, step: int) -> int:
    """Return how many messages came as they were sent, and the bytes sent."""
    with join(timeout=60) as world:
        if rank == (0 if step > 0 else 1):
            outgoing = Outgoing(world, capacity=CAPACITY, queue=queue, step=step)
            for number in range(60):
                message = random_message(number)
                outgoing.send(message.tensors, message.facts)
            outgoing.flush()
            right = outgoing.sent_bytes == sum(size_of(each.tensors, each.facts) for each in map(random_message, range(60)))
            world.gather(None)
            return 60 * right
        incoming, same = Incoming(world, capacity=CAPACITY, queue=queue, step=step), 0
        for number in range(60):
            received, sent = incoming.receive(), random_message(number)
            pairs = zip(received.tensors, sent.tensors, strict=True)
            same += received.facts == sent.facts and all(torch.equal(a, b) for a, b in pairs)
        world.gather(None)
        return same


@pytest.mark.parametrize(("queue", "step"), [(1, 1), (4, 1), (2, -1)])
def test_messages_arrive_whole_and_in_order(queue: int, step: int) -> None:
    assert in_workers(partial(exchange, queue=queue, step=step)) == [60, 60]


def fill(rank: int, journal: Path, queue: int) -> None:
    """The receiver takes nothing before the sender begins with a message that finds no room."""
    messages, room = 2 * queue + 3, 2 * queue

    def note(line: str) -> None:
        descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    with join(timeout=60) as world:
        if rank == 0:
            outgoing = Outgoing(world, capacity=100, queue=queue)
            for number in range(messages):
                if number == room:
                    world.store.set("full", "yes")
                outgoing.send([], {"number": number})
                note(f"sent {number}")
            outgoing.flush()
        else:
            incoming = Incoming(world, capacity=100, queue=queue)
            world.store.wait(["full"])
            time.sleep(0.2)  # in which a sender that does not wait would send everything
            note("receives")
            assert [incoming.receive().facts["number"] for _ in range(messages)] == list(range(messages))
        world.gather(None)


@pytest.mark.parametrize("queue", [1, 2])
def test_the_sender_waits_when_the_buffers_of_both_ends_are_full(tmp_path: Path, queue: int) -> None:
    in_workers(partial(fill, journal=tmp_path / "journal", queue=queue))
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines[: 2 * queue + 1] == [*(f"sent {number}" for number in range(2 * queue)), "receives"]
    assert lines[2 * queue + 1 :] == [f"sent {number}" for number in range(2 * queue, 2 * queue + 3)]
