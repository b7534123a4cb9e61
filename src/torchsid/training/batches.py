"""Training batches: each is a function of (seed, epoch, step) alone, and is made in two parts.

The host chooses samples and draws what is random, small tensors on the CPU. The device gathers, augments and normalises, by tensor
operations that wait for nothing. Samples that fit live on the device, as they are stored; others follow each batch, gathered or
read by a thread several batches ahead.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import tee
from math import inf
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from torchsid.core.weighting import weigh_classes
from torchsid.tasks.domain import Samples, Splits, Task, generator_at
from torchsid.tasks.stored import Draws, Stored
from torchsid.training.config import TrainingConfig
from torchsid.training.evaluation import Predictor, answering

T = TypeVar("T")

_AHEAD = 4  # batches that wait for the device
_CHUNK = 2**26  # bytes that are read at once
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
    """As this process reads them; see `Splits.of_worker`."""
    training: TrainingConfig
    device: torch.device
    resident: Samples | None
    """The training samples, where they live on the device; see `on_device`."""
    class_weights: Tensor | None = None
    """What each class counts in the loss, `[C]`, on the device; None counts all alike."""

    def __len__(self) -> int:
        """The batches of an epoch; the last one has the samples that are left, and one alone joins the batch before."""
        return -(-self.task.epoch_size(self.splits.train) // self.training.batch_size) - self._joins

    @property
    def largest(self) -> int:
        """The most samples of a batch."""
        return self.training.batch_size + self._joins

    @property
    def _joins(self) -> bool:
        """Whether one sample would be left over, of which BatchNorm on maps of one pixel has no variance."""
        count, size = self.task.epoch_size(self.splits.train), self.training.batch_size
        return 1 < size < count and count % size == 1

    def of_epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch]:
        """Yield the batches of an epoch from `first_step` on, which costs no more than from the first."""
        order = self._order(epoch)
        chosen = (self._chosen(order, epoch, step) for step in range(first_step, len(self)))
        made = ahead(self._stored(chosen)) if self.resident is None else (Batch(*each, None) for each in chosen)
        for batch in made:
            yield tree_map_only(Tensor, lambda tensor: tensor.to(self.device, non_blocking=True), batch)

    def collect(self, predictor: Predictor, epoch: int, step: int) -> dict[str, float] | None:
        """Renew the training samples, where a collector does so before this step, and return what it says of them."""
        collector = self.splits.collector
        if collector is None or step % collector.every:
            return None
        until = step + collector.every
        rows = self._order(epoch)[step * self.training.batch_size : until * self.training.batch_size if until < len(self) else None]
        with answering(predictor, self.prepare) as believe:
            told = collector.collect(believe, rows)
        self.renewed()
        return dict(told)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold of samples that are renewed, by names with a colon; nothing of others."""
        train, collector = self.splits.train, self.splits.collector
        parts = {"samples:inputs": train.inputs, "samples:target": train.target, "samples:weight": train.weight}
        held = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        return {**held, **collector.state()} if collector else {}

    def renewed(self) -> None:
        """Bring the samples on the device up to date, where others than these live there."""
        own, train = self.resident, self.splits.train
        if self.splits.collector and own:
            for held, part in ((own.inputs, train.inputs), (own.target, train.target), (own.weight, train.weight)):
                if isinstance(held, Tensor) and isinstance(part, Tensor) and held is not part:
                    held.copy_(part)

    def phase(self, epoch: int) -> int:
        """Return the phase, from 0, that an epoch, from 1, belongs to; see `Task.phases`."""
        return (epoch - 1) * self.task.phases // self.training.epochs

    def of_phase(self, phase: int) -> Iterator[Examples]:
        """Yield batches of an epoch of a phase, not augmented, for what is done between two phases."""
        order = self.task.order(self.splits.train, phase, generator_at("phase", self.training.seed, phase))
        for places in torch.split(order, self.training.batch_size):
            yield self._examined(self.splits.train.take(places))

    def close(self) -> None:
        """Let go of what is kept from one epoch to the next, such as processes that decode."""
        if isinstance(self.splits.train.inputs, Stored):
            self.splits.train.inputs.reader.close()

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
        return self._examined(self.splits.train.take(slice(count)))

    def _examined(self, samples: Samples) -> Examples:
        weight = None if samples.weight is None else samples.weight.to(self.device)
        return Examples(self.prepare(samples.inputs[:]), samples.target[:].to(self.device), weight)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Return stored inputs as the network reads them, on the device."""
        return self._laid_out(self.task.prepare(inputs.to(self.device), self.splits.about))

    def _order(self, epoch: int) -> Tensor:
        """Return the order in which an epoch takes the samples; see `Task.order`."""
        return self.task.order(self.splits.train, self.phase(epoch), generator_at("order", self.training.seed, epoch))

    def _chosen(self, order: Tensor, epoch: int, step: int) -> tuple[Tensor, Draws]:
        """Return which samples a step takes, and what is random in it."""
        size, generator = self.training.batch_size, generator_at("step", self.training.seed, epoch, step)
        places = order[step * size : (step + 1) * size if step + 1 < len(self) else None]
        return places, self.task.draw(len(places), self.splits.about, generator)

    def _stored(self, chosen: Iterator[tuple[Tensor, Draws]]) -> Iterator[Batch]:
        """Yield batches with what is stored of their samples, from where the device can fetch it."""
        train, (chosen, first, second) = self.splits.train, tee(chosen, 3)
        read = train.inputs.reader.uses if isinstance(train.inputs, Stored) else frozenset()
        for (places, draws), inputs, target in zip(chosen, _of(train.inputs, first), _of(train.target, second), strict=True):
            weight = None if train.weight is None else train.weight[places]
            left = {name: draw for name, draw in draws.items() if name not in read}
            batch = Batch(places, left, (inputs, target, weight))
            yield tree_map_only(Tensor, Tensor.pin_memory, batch) if self.device.type == "cuda" else batch

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.to(self.device, memory_format=self.task.memory_format)


def _of(part: Tensor | Stored, chosen: Iterator[tuple[Tensor, Draws]]) -> Iterator[Tensor]:
    """Yield what there is of each batch in inputs or targets."""
    return part.stream(chosen) if isinstance(part, Stored) else (part[places] for places, _ in chosen)


def on_device(samples: Samples, device: torch.device, memory_bytes: int, *, always: bool = False) -> Samples | None:
    """Return the samples on the device, as they are stored; None where each batch is to be fetched, which is never if `always`.

    That is where inputs that are read would take more than `memory_bytes`, where all would take more than half of a GPU's free
    memory, and where reading is random.
    """
    inputs, limit = samples.inputs, float(memory_bytes) if isinstance(samples.inputs, Stored) else inf
    if device.type == "cuda" and not always:
        limit = _FREE_SHARE * torch.cuda.mem_get_info(device)[0]
    size = sum(part.nbytes for part in (inputs, samples.target, samples.weight) if part is not None)
    if size > limit or (isinstance(inputs, Stored) and inputs.reader.uses):
        return None
    weight = samples.weight if samples.weight is None else samples.weight.to(device)
    return Samples(_read(inputs, device) if isinstance(inputs, Stored) else inputs.to(device), samples.target[:].to(device), weight)


def _read(inputs: Stored, device: torch.device) -> Tensor:
    """Return all inputs on the device; the memory here holds a few at a time."""
    found = torch.empty(inputs.shape, dtype=inputs.dtype, device=device)
    count = max(1, _CHUNK * len(inputs) // max(1, inputs.nbytes))
    for start in range(0, len(inputs), count):
        found[start : start + count] = inputs[start : start + count]
    return found


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items in order; a thread fetches a few of them ahead."""
    left, end, pool = iter(items), object(), ThreadPoolExecutor(max_workers=1)
    try:
        waiting = deque(pool.submit(next, left, end) for _ in range(_AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, left, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(left, Generator):
            left.close()
