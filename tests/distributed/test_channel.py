"""Handovers arrive whole and in order, and no more of them are under way than there are buffers."""

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

from torchsid.distributed.channel import Handover, Incoming, Outgoing, _pack, _unpack
from torchsid.distributed.world import join

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)
NOTHING = Handover((), torch.empty(0), torch.empty(0))


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
    buffer = torch.full((20_000,), 255, dtype=torch.uint8)
    _pack(buffer, sent, facts)
    received, told = _unpack(buffer)
    assert told == facts
    assert len(received) == len(sent)
    for one, original in zip(received, sent, strict=True):
        assert one.dtype == original.dtype
        assert torch.equal(one, original)
        assert one.stride() == torch.empty_like(original).stride()


def random_handover(number: int) -> Handover:
    generator = torch.Generator().manual_seed(number)
    sizes = torch.randint(0, 2000, (2,), generator=generator).tolist()
    values = (torch.randn(int(sizes[0]), generator=generator), number, "text", None, torch.tensor([float("nan"), float("inf")]))
    return Handover(values, torch.randn(int(sizes[1]), 1, 4, generator=generator), torch.empty(0), request=number)


def same(one: Handover, other: Handover) -> bool:
    pairs = zip((*one.values, one.log_beliefs, one.request), (*other.values, other.log_beliefs, other.request), strict=True)
    return all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) if isinstance(a, Tensor) else a == b for a, b in pairs)


def exchange(rank: int, queue: int, step: int) -> int:
    """Return how many messages came as they were sent; the sender returns the bytes sent."""
    largest = Handover((torch.empty(2000), 0, "text", None, torch.empty(2)), torch.empty(2000, 1, 4), torch.empty(0))
    with join(timeout=60) as world:
        if rank == (0 if step > 0 else 1):
            outgoing, right = Outgoing(world, largest, queue=queue, step=step), 0
            for number in range(60):
                outgoing.send(random_handover(number))
            outgoing.flush()
            right = outgoing.sent_bytes
        else:
            incoming = Incoming(world, largest, queue=queue, step=step)
            right = sum(same(incoming.receive(), random_handover(number)) for number in range(60))
        world.gather(None)
        return right


@pytest.mark.parametrize(("queue", "step"), [(1, 1), (4, 1), (2, -1)])
def test_messages_arrive_whole_and_in_order(queue: int, step: int) -> None:
    sent, arrived = in_workers(partial(exchange, queue=queue, step=step))[::step]
    assert arrived == 60
    payload = sum(4 * each.values[0].numel() + each.log_beliefs.nbytes for each in map(random_handover, range(60)))
    assert payload < sent < payload + 60 * 1000


def fill(rank: int, journal: Path, queue: int) -> None:
    """The receiver takes nothing before the sender begins with a message that finds no room."""
    messages, room = 2 * queue + 3, 2 * queue

    def note(line: str) -> None:
        descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    with join(timeout=60) as world:
        if rank == 0:
            outgoing = Outgoing(world, NOTHING, queue=queue)
            for number in range(messages):
                if number == room:
                    world.store.set("full", "yes")
                outgoing.send(NOTHING)
                note(f"sent {number}")
            outgoing.flush()
        else:
            incoming = Incoming(world, NOTHING, queue=queue)
            world.store.wait(["full"])
            time.sleep(0.2)  # in which a sender that does not wait would send everything
            note("receives")
            for _ in range(messages):
                incoming.receive()
        world.gather(None)


@pytest.mark.parametrize("queue", [1, 2])
def test_the_sender_waits_when_the_buffers_of_both_ends_are_full(tmp_path: Path, queue: int) -> None:
    in_workers(partial(fill, journal=tmp_path / "journal", queue=queue))
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines[: 2 * queue + 1] == [*(f"sent {number}" for number in range(2 * queue)), "receives"]
    assert lines[2 * queue + 1 :] == [f"sent {number}" for number in range(2 * queue, 2 * queue + 3)]
