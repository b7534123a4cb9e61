"""Where samples live and who makes the batches changes nothing in them."""

from dataclasses import replace

import pytest
import torch

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


AUGMENTED = ["crop=1", "flip=true", "cutout=3", "mixup=0.4", "cutmix=1.0"]


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
    elsewhere = replace(batches, device=meta, resident=on_device(batches.splits.train, meta))
    for other in (elsewhere, replace(elsewhere, resident=None)):
        shapes = [(x.shape, target.shape) for x, target, _ in map(other.examples, other.of_epoch(3, 3))]
        assert shapes == [(each.x.shape, each.target.shape) for each in whole[3:]]


def test_a_thread_makes_a_few_batches_ahead_and_hands_on_its_errors() -> None:
    asked: list[int] = []

    def make(step: int) -> int:
        asked.append(step)
        return 10 // (8 - step)

    found = ahead(make, range(20))
    assert [next(found) for _ in range(3)] == [1, 1, 1]
    assert len(asked) <= 3 + 5
    with pytest.raises(ZeroDivisionError):
        list(found)
