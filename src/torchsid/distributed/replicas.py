"""The `data` axis: replicas of a stage split the batch and average their gradients, as in data-parallel training.

DistributedDataParallel hooks one forward and one backward pass of a whole module; here every stage has its own, so the average is
taken by `all_reduce` as soon as a stage is differentiated. As in DistributedDataParallel, BatchNorm sees its replica's part of
the batch, and the running statistics of the first replica count.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from torchsid.distributed.diagnosis import finish
from torchsid.distributed.world import World


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
        bounds = [-(-batch * replica // self._count) for replica in range(self._count + 1)]
        rows = slice(bounds[self._index], bounds[self._index + 1])
        if rows.stop == rows.start:
            return slice(0, 1), 0.0
        part = (rows.stop - rows.start) / batch if weight is None else float(weight[rows].sum() / weight.sum())
        return rows, part * self._count

    def agree(self, request: int) -> int:
        """Return the first replica's number."""
        if self._count == 1:
            return request
        number = torch.tensor(request)
        self._finish(dist.broadcast(number, self._first, group=self._group, async_op=True))
        return int(number)

    def vary_randomness(self) -> None:
        """Let every replica draw other random numbers; the first one's are those of one process."""
        if self._index:
            torch.manual_seed(torch.initial_seed() + self._index)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over the replicas."""
        if self._count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._finish(dist.all_reduce(flat, group=self._group, async_op=True))
        flat /= self._count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_buffers(self, module: nn.Module) -> None:
        """Take over the first replica's running statistics."""
        if self._count > 1:
            for buffer in module.buffers():
                self._finish(dist.broadcast(buffer, self._first, group=self._group, async_op=True))

    def join(self, losses: Tensor, log_beliefs: Tensor, rows: slice, share: float) -> tuple[Tensor, Tensor]:
        """Return losses `[i]` and beliefs `[i+1, B, ..., C]` of the whole batch, on every replica."""
        if self._count == 1:
            return losses, log_beliefs
        losses = losses * share
        self._finish(dist.all_reduce(losses, group=self._group, async_op=True))
        own = rows.stop - rows.start if share else 0
        sizes = torch.zeros(self._count, dtype=torch.int64)
        sizes[self._index] = own
        self._finish(dist.all_reduce(sizes, group=self._group, async_op=True))
        padded = log_beliefs.new_zeros(len(log_beliefs), int(sizes.max()), *log_beliefs.shape[2:])
        padded[:, :own] = log_beliefs[:, :own]
        parts = [torch.empty_like(padded) for _ in range(self._count)]
        self._finish(dist.all_gather(parts, padded, group=self._group, async_op=True))
        whole = torch.cat([part[:, :size] for part, size in zip(parts, sizes.tolist(), strict=True)], dim=1)
        return losses / self._count, whole

    def _finish(self, work: dist.Work | None) -> None:
        assert work is not None  # None is for those outside the group
        finish(work, self._world, "the other replicas of its stages")
