import torch

from torchsid.tasks import Splits
from torchsid.training import resolve
from torchsid.training.batches import Batches
from torchsid.training.build import build_task


def batches(*overrides: str, device: str = "cpu") -> tuple[Splits, Batches]:
    config = resolve("digits", ["data.limit=300", "training.batch_size=64", *overrides])
    task = build_task(config)
    splits = task.load(0)
    return splits, Batches(task, splits, config.training, torch.device(device))


def test_every_sample_comes_once_an_epoch_in_a_new_order() -> None:
    splits, source = batches("data.validation=0.0")
    orders = [torch.cat([batch.samples for batch in source.epoch(epoch)]) for epoch in (1, 2)]
    assert source.steps == 5
    assert [len(batch.target) for batch in source.epoch(1)] == [64, 64, 64, 64, 44]
    assert not torch.equal(*orders)
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(300))
    first = next(source.epoch(1))
    assert torch.equal(first.target, splits.train.target[first.samples])


def test_a_later_start_gives_the_same_batches() -> None:
    _, source = batches("data.augment.crop=1", "data.augment.mixup=0.3")
    whole = list(source.epoch(3))
    for start in range(source.steps + 1):
        for late, batch in zip(source.epoch(3, start), whole[start:], strict=True):
            assert torch.equal(late.x, batch.x)
            assert torch.equal(late.target, batch.target)


def test_the_thread_of_other_devices_gives_the_same_batches() -> None:
    """The meta device stands for an accelerator: shapes and order without values."""
    (_, source), (_, other) = batches(), batches(device="meta")
    assert [batch.x.shape for batch in other.epoch(1, 2)] == [batch.x.shape for batch in source.epoch(1, 2)]
    assert list(other.epoch(1, other.steps)) == []


def test_memory_format_and_finiteness() -> None:
    _, source = batches("data.channels_last=true")
    batch = next(source.epoch(1))
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert batch.finite
    assert len(source.first(1000).samples) == len(source.first(1000).target) == 270
