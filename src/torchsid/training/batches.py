"""The batches of an epoch; each is a function of (seed, epoch, step) alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from torchsid.tasks.images import Augmentation, DataSplits, normalise, sample_order, step_generator
from torchsid.training.config import RunConfig


class Batch(NamedTuple):
    """What one step trains on."""

    x: Tensor
    """Augmented and normalised images `[B, C, H, W]`, on the device."""
    target: Tensor
    """Classes `[B]` or probability rows `[B, classes]`, on the device."""
    finite: bool
    """Whether every value of `x` is finite."""
    samples: Tensor
    """Which training images these are, int64 `[B]`."""


def normalisation(splits: DataSplits, config: RunConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation that images are normalised with: 0 and 1 without `augment.normalise`."""
    if config.augment.normalise:
        return splits.mean, splits.std
    return (0.0,) * len(splits.mean), (1.0,) * len(splits.std)


class Batches:
    """Training batches, and the preparation of images for everything else.

    Args:
        splits: images and labels.
        config: batch size, seed, augmentation and memory format.
        device: where batches go.
    """

    def __init__(self, splits: DataSplits, config: RunConfig, device: torch.device) -> None:
        self._train = splits.train
        self._mean, self._std = normalisation(splits, config)
        self._augment = Augmentation(config.augment, splits.mean, splits.std, splits.num_classes)
        self._size, self._seed = config.training.batch_size, config.training.seed
        self._format = torch.channels_last if config.training.channels_last else torch.contiguous_format
        self._device = device
        self.steps = -(-len(splits.train) // self._size)
        """Steps of an epoch; the last one takes what is left."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `first_step` on; on CUDA the next one is made while the device computes."""
        if first_step >= self.steps:
            return
        order = sample_order(len(self._train), self._seed, epoch)
        if self._device.type == "cpu":  # a thread would only compete for the cores
            yield from (self._make(order, epoch, step) for step in range(first_step, self.steps))
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            following = pool.submit(self._make, order, epoch, first_step)
            for step in range(first_step + 1, self.steps + 1):
                batch = following.result()
                if step < self.steps:
                    following = pool.submit(self._make, order, epoch, step)
                yield batch

    def prepare(self, images: Tensor) -> Tensor:
        """Return uint8 images as the network reads them: normalised, in the memory format and on the device."""
        return self._place(normalise(images, self._mean, self._std))

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first `count` training images, not augmented, and their labels, for measurements beside training."""
        return self.prepare(self._train.images[:count]), self._train.labels[:count].to(self._device)

    def _make(self, order: Tensor, epoch: int, step: int) -> Batch:
        chosen = order[step * self._size : (step + 1) * self._size]
        generator = step_generator(self._seed, epoch, step)
        x, target = self._augment(self._train.images[chosen], self._train.labels[chosen], generator)
        return Batch(self._place(x), target.to(self._device), bool(x.isfinite().all()), chosen)

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self._device, memory_format=self._format)
