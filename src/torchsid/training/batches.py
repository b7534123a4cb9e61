"""The batches of an epoch; each is a function of (seed, epoch, step) alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from torchsid.tasks.domain import Splits, Task, generator_at
from torchsid.training.config import TrainingConfig


class Batch(NamedTuple):
    """What one step trains on."""

    x: Tensor
    """Inputs `[B, ...]` as the network reads them, on the device."""
    target: Tensor
    """Outcomes `[B, ...]` or probability rows `[B, ..., C]`, on the device."""
    weight: Tensor | None
    """A weight for every position, `[B, ...]`, on the device; None counts all alike."""
    finite: bool
    """Whether every value of `x` is finite."""
    samples: Tensor
    """Which training samples these are, int64 `[B]`."""


class Batches:
    """Training batches, and the preparation of inputs for everything else.

    Args:
        task: makes batches of samples.
        splits: the samples.
        config: batch size and seed.
        device: where batches go.
    """

    def __init__(self, task: Task, splits: Splits, config: TrainingConfig, device: torch.device) -> None:
        self._task, self._splits, self._device = task, splits, device
        self._size, self._seed = config.batch_size, config.seed
        self.steps = -(-len(splits.train) // self._size)
        """Steps of an epoch; the last one takes what is left."""

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `first_step` on; on CUDA the next one is made while the device computes."""
        order = torch.randperm(len(self._splits.train), generator=generator_at("order", self._seed, epoch))
        steps = range(first_step, self.steps)
        if self._device.type == "cpu":  # a thread would only compete for the cores
            yield from (self._make(order, epoch, step) for step in steps)
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = (pool.submit(self._make, order, epoch, step) for step in steps)
            following = next(ahead, None)
            while batch := following:
                following = next(ahead, None)
                yield batch.result()

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return stored inputs as the network reads them, on the device."""
        return self._place(self._task.prepare(inputs, self._splits.about))

    def first(self, count: int) -> Batch:
        """Return the first `count` training samples, not augmented, for measurements beside training."""
        samples = self._splits.train.take(slice(count))
        x = self._task.prepare(samples.inputs, self._splits.about)
        return self._batch(x, samples.target, samples.weight, torch.arange(len(samples)))

    def _make(self, order: Tensor, epoch: int, step: int) -> Batch:
        chosen = order[step * self._size : (step + 1) * self._size]
        generator = generator_at("step", self._seed, epoch, step)
        x, target, weight = self._task.training_batch(self._splits.train.take(chosen), self._splits.about, generator)
        return self._batch(x, target, weight, chosen)

    def _batch(self, x: Tensor, target: Tensor, weight: Tensor | None, samples: Tensor) -> Batch:
        weight = None if weight is None else weight.to(self._device)
        return Batch(self._place(x), target.to(self._device), weight, bool(x.isfinite().all()), samples)

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self._device, memory_format=self._task.memory_format)
