import torch

from torchsid.tasks import images as data
from torchsid.training import resolve
from torchsid.training.batches import Batches


def batches(*overrides: str) -> tuple[data.DataSplits, Batches]:
    config = resolve("digits", ["data.limit=300", "training.batch_size=64", *overrides])
    splits = data.load(config.data, seed=0)
    return splits, Batches(splits, config, torch.device("cpu"))


def test_every_image_comes_once_an_epoch_in_a_new_order() -> None:
    splits, source = batches("data.validation=0.0")
    labels = [torch.cat([batch.target for batch in source.epoch(epoch)]) for epoch in (1, 2)]
    assert source.steps == 5
    assert [len(batch.target) for batch in source.epoch(1)] == [64, 64, 64, 64, 44]
    assert not torch.equal(*labels)
    for order in labels:
        assert torch.equal(order.bincount(), splits.train.labels.bincount())


def test_a_later_start_gives_the_same_batches() -> None:
    _, source = batches("augment.crop=1", "augment.mixup=0.3")
    whole = list(source.epoch(3))
    for start in range(source.steps + 1):
        for late, batch in zip(source.epoch(3, start), whole[start:], strict=True):
            assert torch.equal(late.x, batch.x)
            assert torch.equal(late.target, batch.target)


def test_the_thread_of_other_devices_gives_the_same_batches() -> None:
    """The meta device stands for an accelerator: shapes and order without values."""
    splits, source = batches()
    config = resolve("digits", ["data.limit=300", "training.batch_size=64"])
    other = Batches(splits, config, torch.device("meta"))
    assert [batch.x.shape for batch in other.epoch(1, 2)] == [batch.x.shape for batch in source.epoch(1, 2)]
    assert list(other.epoch(1, other.steps)) == []


def test_memory_format_and_finiteness() -> None:
    _, source = batches("training.channels_last=true")
    batch = next(source.epoch(1))
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert batch.finite
