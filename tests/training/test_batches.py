"""Where samples live and who makes the batches changes nothing in them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torchsid.tasks.stored import RowFile, Stored
from torchsid.training import resolve
from torchsid.training.batches import Batches, ahead, on_device
from torchsid.training.setup import set_up


def small(*overrides: str) -> Batches:
    return set_up(resolve("digits", ["data.limit=300", "training.batch_size=64", *overrides]), torch.device("cpu")).batches


def test_every_sample_comes_once_an_epoch_in_a_new_order() -> None:
    batches = small("data.validation=0.0")
    orders = [torch.cat([batch.samples for batch in batches.of_epoch(epoch)]) for epoch in (1, 2)]
    assert len(batches) == 5
    assert [len(batch.samples) for batch in batches.of_epoch(1)] == [64, 64, 64, 64, 44]
    assert not torch.equal(*orders)
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(300))
    first = next(batches.of_epoch(1))
    assert torch.equal(batches.examples(first).target, batches.splits.train.target[first.samples])
    other = small("data.channels_last=true")
    assert other.examples(next(other.of_epoch(1))).x.is_contiguous(memory_format=torch.channels_last)


AUGMENTED = ["random_resized_crop=0.3", "crop=1", "flip=true", "cutout=3", "mixup=0.4", "cutmix=1.0"]


@pytest.mark.parametrize("augment", [[], *([each] for each in AUGMENTED), AUGMENTED])
def test_batches_are_the_same_from_any_start_and_wherever_samples_live(augment: list[str]) -> None:
    """The ragged last one as well. The meta device stands for an accelerator: what reads a value fails there."""
    batches = small(*(f"data.augment.{each}" for each in augment))
    whole = [batches.examples(batch) for batch in batches.of_epoch(3)]
    streamed = replace(batches, resident=None)
    for start in (0, 2, 5):
        found = [streamed.examples(batch) for batch in streamed.of_epoch(3, start)]
        for (x, target, weight), one in zip(found, whole[start:], strict=True):
            assert torch.equal(x, one.x)
            assert torch.equal(target, one.target)
            assert weight is None
    meta = torch.device("meta")
    elsewhere = replace(batches, device=meta, resident=on_device(batches.splits.train, meta, 0))
    for other in (elsewhere, replace(elsewhere, resident=None)):
        shapes = [(x.shape, target.shape) for x, target, _ in map(other.examples, other.of_epoch(3, 3))]
        assert shapes == [(each.x.shape, each.target.shape) for each in whole[3:]]


def test_a_thread_makes_a_few_batches_ahead_and_hands_on_its_errors() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for step in range(20):
            asked.append(step)
            yield 10 // (8 - step)

    found = ahead(items())
    assert [next(found) for _ in range(3)] == [1, 1, 1]
    assert len(asked) <= 3 + 5
    with pytest.raises(ZeroDivisionError):
        list(found)


@pytest.mark.parametrize("augment", [[], ["flip=true", "mixup=0.4"]])
def test_inputs_that_are_read_make_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: list[str]) -> None:
    """In memory where they fit, streamed where they do not; from any start."""
    batches = small(*(f"data.augment.{each}" for each in augment))
    train, path = batches.splits.train, tmp_path / "rows"
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    path.write_bytes(train.inputs[rows.argsort()].numpy().tobytes())
    inputs = Stored(RowFile(path, tuple(train.inputs.shape[1:])), rows)
    stored = replace(batches, splits=replace(batches.splits, train=replace(train, inputs=inputs)))
    whole = [batches.examples(batch) for batch in batches.of_epoch(2)]
    monkeypatch.setattr("torchsid.training.batches._CHUNK", 1000)
    for memory in (inputs.nbytes, 0), (10**6, 3):
        resident = on_device(stored.splits.train, torch.device("cpu"), memory[0])
        other = replace(stored, resident=resident)
        assert (resident is None) == (memory[0] < 10**6)
        for batch, one in zip(other.of_epoch(2, memory[1]), whole[memory[1] :], strict=True):
            found = other.examples(batch)
            assert torch.equal(found.x, one.x)
            assert torch.equal(found.target, one.target)
    assert torch.equal(stored.first(5).x, batches.first(5).x)
