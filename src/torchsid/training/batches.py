"""Training batches: each is a function of (seed, epoch, step) alone, and is made in two parts.

The host chooses samples and draws what is random, small tensors on the CPU. The device gathers, augments and normalises, by tensor
operations that wait for nothing. Samples that fit live on the device, as they are stored; others follow each batch, gathered by a
thread several batches ahead.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from torchsid.core.weighting import weigh_classes
from torchsid.tasks.domain import Draws, Samples, Splits, Task, generator_at
from torchsid.training.config import TrainingConfig

T = TypeVar("T")

_AHEAD = 4  # batches that wait for the device
_FREE_SHARE = 0.5  # of the device's free memory; the rest is for activations


class Batch(NamedTuple):
    """What one step begins with: tensors alone, on the device, whose shapes follow from the number of samples."""

    samples: Tensor
    """Which training samples these are, int64 `[B]`."""
    draws: Draws
    """What is random in their augmentation; see `Task.draw`."""
    stored: tuple[Tensor, Tensor, Tensor | None] | None
    """Inputs, target and weight as they are stored, `[B, ...]`; None where all samples live on the device."""


class Examples(NamedTuple):
    """What a network learns from, on the device."""

    x: Tensor
    """Inputs `[B, ...]` as the network reads them."""
    target: Tensor
    """Outcomes `[B, ...]` or probability rows `[B, ..., C]`."""
    weight: Tensor | None
    """A weight for every position, `[B, ...]`; None counts all alike."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The training batches of a run."""

    task: Task
    splits: Splits
    training: TrainingConfig
    device: torch.device
    resident: Samples | None
    """The training samples, where they live on the device; see `on_device`."""
    class_weights: Tensor | None = None
    """What each class counts in the loss, `[C]`, on the device; None counts all alike."""

    def __len__(self) -> int:
        """The batches of an epoch; the last one has the samples that are left, and one alone joins the batch before."""
        return -(-len(self.splits.train) // self.training.batch_size) - self._joins

    @property
    def largest(self) -> int:
        """The most samples of a batch."""
        return self.training.batch_size + self._joins

    @property
    def _joins(self) -> bool:
        """Whether one sample would be left over, of which BatchNorm on maps of one pixel has no variance."""
        count, size = len(self.splits.train), self.training.batch_size
        return 1 < size < count and count % size == 1

    def of_epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `first_step` on."""
        order = torch.randperm(len(self.splits.train), generator=generator_at("order", self.training.seed, epoch))
        steps = range(first_step, len(self))

        def make(step: int) -> Batch:
            return self._on_host(order, epoch, step)

        made = ahead(make, steps) if self.resident is None else map(make, steps)
        for batch in made:
            yield tree_map_only(Tensor, lambda tensor: tensor.to(self.device, non_blocking=True), batch)

    def examples(self, batch: Batch) -> Examples:
        """Return what the network learns from. This part of a step is the device's: it neither waits nor copies anything to it."""
        if batch.stored is None:
            assert self.resident is not None
            samples = self.resident.take(batch.samples)
        else:
            samples = Samples(*batch.stored)
        x, target, weight = self.task.training_batch(samples, self.splits.about, batch.draws)
        if self.class_weights is not None:
            target, weight = weigh_classes(target, self.class_weights, weight)
        return Examples(self._laid_out(x), target, weight)

    def first(self, count: int) -> Examples:
        """Return the first `count` training samples, not augmented, for measurements beside training."""
        samples = self.splits.train.take(slice(count))
        weight = None if samples.weight is None else samples.weight.to(self.device)
        return Examples(self.prepare(samples.inputs), samples.target.to(self.device), weight)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return stored inputs as the network reads them, on the device."""
        return self._laid_out(self.task.prepare(inputs.to(self.device), self.splits.about))

    def _on_host(self, order: Tensor, epoch: int, step: int) -> Batch:
        size, generator = self.training.batch_size, generator_at("step", self.training.seed, epoch, step)
        chosen = order[step * size : (step + 1) * size if step + 1 < len(self) else None]
        stored = _stored(self.splits.train.take(chosen)) if self.resident is None else None
        batch = Batch(chosen, self.task.draw(len(chosen), self.splits.about, generator), stored)
        return tree_map_only(Tensor, Tensor.pin_memory, batch) if self.device.type == "cuda" else batch

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.to(self.device, memory_format=self.task.memory_format)


def on_device(samples: Samples, device: torch.device) -> Samples | None:
    """Return the samples on the device, as they are stored; None where they would take more than half of its free memory."""
    stored = _stored(samples)
    if device.type == "cuda":
        size = sum(tensor.nbytes for tensor in stored if tensor is not None)
        if size > _FREE_SHARE * torch.cuda.mem_get_info(device)[0]:
            return None
    return Samples(*(tensor if tensor is None else tensor.to(device) for tensor in stored))  # type: ignore[arg-type]


def ahead(make: Callable[[int], T], steps: Iterable[int]) -> Iterator[T]:
    """Yield what `make` returns for every step, in order; a thread makes a few of them ahead."""
    left = iter(steps)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = deque(pool.submit(make, step) for step in islice(left, _AHEAD))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, step) for step in islice(left, 1))
            yield made


def _stored(samples: Samples) -> tuple[Tensor, Tensor, Tensor | None]:
    return samples.inputs, samples.target, samples.weight
