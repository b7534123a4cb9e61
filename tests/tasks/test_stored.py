"""Inputs that are read are those that were written, whoever reads which of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.errors import DataError
from torchsid.tasks import stored
from torchsid.tasks.stored import NO_DRAWS, Draws, OwnRows, Reader, RowFile, Stored, Windowed, joined, windowed

WHOLE = torch.randint(2**15, (50, 2, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint16)
SOME = torch.tensor([7, 8, 9, 3, 49, 0, 0])


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    path = tmp_path / "rows"
    path.write_bytes(WHOLE.numpy().tobytes())
    return RowFile(path, (2, 3), torch.uint16)


def test_a_file_of_rows_is_read_as_a_tensor_is(file: RowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MOST", 40)  # bytes: four rows at once
    rows = Stored(file, torch.arange(50).flip(0))
    flipped = WHOLE.view(torch.int16).flip(0)
    assert (len(rows), rows.shape, rows.dtype, rows.nbytes) == (50, (50, 2, 3), torch.uint16, WHOLE.nbytes)
    for index in (SOME, slice(None), slice(3, 9), slice(0), torch.tensor([], dtype=torch.int64)):
        assert torch.equal(rows[index].view(torch.int16), flipped[index])
        assert torch.equal(rows.subset(index)[:].view(torch.int16), flipped[index])
    assert torch.equal(rows[-1], WHOLE[0])
    assert [part.tolist() for part in rows.stream([(SOME, {}), (SOME[:2], {})])] == [rows[SOME].tolist(), rows[SOME[:2]].tolist()]


def test_windows_may_overlap(file: RowFile) -> None:
    tokens = np.frombuffer(file.path.read_bytes(), np.uint16)
    windows = RowFile(file.path, (5,), torch.uint16, stride=2 * 3)
    found = windows.read(torch.tensor([0, 1, 40]))
    assert found.tolist() == [tokens[3 * row : 3 * row + 5].tolist() for row in (0, 1, 40)]


def test_a_file_that_was_cut_or_has_gone_is_named(file: RowFile) -> None:
    rows = Stored(file, torch.arange(50))
    file.path.write_bytes(file.path.read_bytes()[:-1])
    assert len(rows[:49]) == 49
    with pytest.raises(DataError, match=r"rows cannot be read .it is shorter"):
        rows[40:]
    file.path.unlink()
    with pytest.raises(DataError, match=r"rows cannot be read .No such file"):
        rows[:1]


def test_parts_of_one_reader_are_joined_without_reading(file: RowFile) -> None:
    one, other = Stored(file, SOME), Stored(RowFile(file.path, (2, 3), torch.uint16), SOME + 1)
    whole = joined([one, other])
    assert isinstance(whole, Stored)
    assert whole.rows.tolist() == [*SOME, *(SOME + 1)]
    assert torch.equal(joined([one, torch.zeros(2, 2, 3, dtype=torch.uint16)])[:7], one[:])


class Numbered(Reader):
    """Row i is i, and what is drawn for it in training."""

    uses = frozenset(["noise"])
    shape, dtype = (1,), torch.float32

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, rows: torch.Tensor, draws: Draws = NO_DRAWS) -> torch.Tensor:
        self.asked += rows.tolist()
        return (rows + draws.get("noise", torch.zeros(len(rows)))).unsqueeze(1)


@pytest.mark.parametrize("own", [[slice(0, 3)], [slice(1, 2), slice(3, 4)], [slice(2, 2)], []])
def test_a_worker_reads_its_own_rows_alone(own: list[slice]) -> None:
    reader, wanted = Numbered(), torch.tensor([11, 12, 13, 14])
    inputs = Stored(OwnRows(reader, lambda count: [slice(part.start, min(part.stop, count)) for part in own]), torch.arange(20))
    noise = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = [*inputs.stream([(wanted, {"noise": noise, "other": torch.zeros(2)}), (wanted[:2], {"noise": noise[:2]})])]
    expected = torch.zeros(4)
    for part in own:
        expected[part] = (wanted + noise)[part]
    assert torch.allclose(found[0].flatten(), expected)
    assert torch.allclose(found[1].flatten(), expected[:2])
    assert set(reader.asked) == {int(row) for part in own for row in wanted[part]}
    assert torch.equal(inputs[wanted].flatten() > 0, expected > 0)
    assert inputs[wanted].shape == (4, 1)


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 100), st.integers(0, 2**31))
def test_a_window_keeps_the_rows_of_a_shard_near_to_each_other(shards: list[int], window: int, seed: int) -> None:
    lie = torch.tensor(shards, dtype=torch.int64)
    order, laid = (windowed(lie, each, torch.Generator().manual_seed(seed)) for each in (window, 0))
    assert torch.equal(order.sort().values, torch.arange(len(shards)))
    assert torch.equal(order, windowed(lie, window, torch.Generator().manual_seed(seed)))
    assert len(lie[laid].unique_consecutive()) == len(lie.unique())  # shard after shard, each as it lies
    assert all((laid[lie[laid] == shard].diff() > 0).all() for shard in shards)
    moved = order.argsort() - laid.argsort()
    assert moved.abs().max(dim=0).values <= window if len(shards) else True


def test_orders_by_window_differ_from_epoch_to_epoch_and_are_no_farther_than_shuffling(file: RowFile) -> None:
    reader = Windowed(file, torch.arange(50) // 10, 8)
    rows = torch.arange(50).flip(0)[:35]
    orders = [Stored(reader, rows).order(torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert len({tuple(order.tolist()) for order in orders}) == 20
    assert torch.equal(orders[0], windowed(rows // 10, 8, torch.Generator().manual_seed(0)))
    assert torch.equal(Stored(reader, rows)[:].view(torch.int16), Stored(file, rows)[:].view(torch.int16))
