"""The `data` axis: replicas of a stage split the batch and average their gradients, as in data-parallel training.

DistributedDataParallel hooks one forward and one backward pass of a whole module; here every stage has its own, so the average is
taken by `all_reduce` as soon as a stage is differentiated. As in DistributedDataParallel, BatchNorm sees its replica's part of
the batch, and the running statistics of the first replica count.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from torchsid.distributed.diagnosis import finish
from torchsid.distributed.world import World

_OTHERS = "the other replicas of its stages"


class Replicas:
    """What the replicas of this worker's stages do together; with one replica, nothing."""

    def __init__(self, world: World) -> None:
        self._world, self._count, self._index = world, world.replicas, world.replica
        self._group = world.mesh.get_group("data")
        self._first = world.rank - world.replica

    def split(self, batch: int, weight: Tensor | None = None) -> tuple[slice, float]:
        """Return this replica's rows of the batch, and their share: the average over the replicas is the mean over the batch.

        A replica that is left without a row takes one with weight 0, because many models cannot run on none.
        """
        rows, share = shares(slice(0, batch), self._count, weight)[self._index]
        return (rows, share * self._count) if rows.stop > rows.start else (slice(0, 1), 0.0)

    def agree(self, request: int) -> int:
        """Return the first replica's number."""
        if self._count == 1:
            return request
        number = torch.tensor(request)
        finish(dist.broadcast(number, self._first, group=self._group, async_op=True), self._world, _OTHERS)
        return int(number)

    def vary_randomness(self) -> None:
        """Let every replica draw other random numbers; the first one's are those of one process."""
        if self._index:
            torch.manual_seed(torch.initial_seed() + self._index)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over the replicas."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        finish(dist.all_reduce(flat, group=self._group, async_op=True), self._world, _OTHERS)
        flat /= self._count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_buffers(self, module: nn.Module) -> None:
        """Take over the first replica's running statistics."""
        if self._count > 1:
            for buffer in module.buffers():
                finish(dist.broadcast(buffer, self._first, group=self._group, async_op=True), self._world, _OTHERS)

    def mean(self, losses: Tensor, share: float) -> Tensor:
        """Return losses `[i]` of the whole batch, on every replica."""
        if self._count == 1:
            return losses
        losses = losses * share
        finish(dist.all_reduce(losses, group=self._group, async_op=True), self._world, _OTHERS)
        return losses / self._count

    def join(self, rows: Tensor, batch: int) -> Tensor:
        """Return beliefs or answers of the whole batch, `[i, B, ...]`, on every replica, from those of its rows."""
        if self._count == 1:
            return rows
        sizes = [own.stop - own.start for own, _ in shares(slice(0, batch), self._count)]
        own, (stages, _, *shape) = sizes[self._index], rows.shape
        padded = rows.new_zeros(stages, max(sizes), *shape)
        padded[:, :own] = rows[:, :own]
        parts = [torch.empty_like(padded) for _ in sizes]
        finish(dist.all_gather(parts, padded, group=self._group, async_op=True), self._world, _OTHERS)
        return torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1)


def shares(rows: slice, count: int, weight: Tensor | None = None) -> list[tuple[slice, float]]:
    """Return so many parts of some rows of a batch, and the share of each in what they count; a part may be empty."""
    size = rows.stop - rows.start
    bounds = [rows.start - (-size * part // count) for part in range(count + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    counts = [float(part.stop - part.start) if weight is None else float(weight[part].sum()) for part in parts]
    return [(part, counted / sum(counts) if counted else 0.0) for part, counted in zip(parts, counts, strict=True)]
