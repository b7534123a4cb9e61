"""Inputs that are not in memory: they are read when a batch needs them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from torchsid.errors import DataError, printable

Draws = Mapping[str, Tensor]
"""The random numbers of one training batch, small tensors by name."""

NO_DRAWS: Draws = MappingProxyType({})

Wanted = tuple[Tensor, Draws]
"""A batch to read: its rows, int64 `[B]`, and what is random in reading them; see `Reader.uses`."""

_MOST = 2**30  # bytes of one read; systems have limits above it


class Reader(ABC):
    """Where inputs lie, row by row, and how they are read."""

    uses: ClassVar[frozenset[str]] = frozenset()
    """Which of a batch's draws, if they are there, are for reading, each `[B, ...]`; the task does not see them."""

    shape: tuple[int, ...]
    """Of one input."""
    dtype: torch.dtype
    """Of the inputs."""

    @abstractmethod
    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return the inputs in some rows, `[n, ...]`.

        Args:
            rows: int64 `[n]`, from 0.
            draws: what is random in a training batch; without, what an evaluation sees is read.

        Raises:
            DataError: they are damaged, or have gone.
        """

    def stream(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """Yield what `read` returns for every batch, in order; several may be read at once, ahead of the one that is asked for."""
        return (self.read(rows, draws) for rows, draws in wanted)

    def order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random order of the places in `rows`, int64 `[n]`: any, unless some follow each other more cheaply."""
        return torch.randperm(len(rows), generator=generator)

    def close(self) -> None:  # noqa: B027 - most keep nothing
        """Let go of what streams have kept for those that follow, such as processes."""


@dataclass(frozen=True)
class Stored:
    """Rows of a reader, `[N, ...]`, that are used as a tensor is: with a length, a shape and a type; an index reads.

    Attributes:
        reader: where they lie.
        rows: which they are, int64 `[N]`.
    """

    reader: Reader
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice | int) -> Tensor:
        """Read the inputs at `index`, int64 `[n]` or a slice, or one."""
        return self.reader.read(self.rows[[index]])[0] if isinstance(index, int) else self.reader.read(self.rows[index])

    @property
    def shape(self) -> torch.Size:
        """`[N, ...]`."""
        return torch.Size((len(self.rows), *self.reader.shape))

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""
        return self.reader.dtype

    @property
    def nbytes(self) -> int:
        """The bytes that they would take in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def of_worker(self, own: Callable[[int], Sequence[slice]]) -> "Stored":
        """Return the same inputs for a worker that reads its own rows of a batch alone; see `OwnRows`."""
        return Stored(OwnRows(self.reader, own), self.rows)

    def subset(self, index: Tensor | slice) -> "Stored":
        """Return the inputs at `index`, not read yet."""
        return Stored(self.reader, self.rows[index])

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the order of an epoch, int64 `[N]`; see `Reader.order`."""
        return self.reader.order(self.rows, generator)

    def stream(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """Yield the inputs of batches, each named by its places among these; see `Reader.stream`."""
        return self.reader.stream((self.rows[places], draws) for places, draws in wanted)


def joined(parts: Sequence[Tensor | Stored]) -> Tensor | Stored:
    """Return inputs one after another; those of one reader are not read."""
    stored = [part for part in parts if isinstance(part, Stored)]
    if len(stored) == len(parts) and all(part.reader == stored[0].reader for part in stored):
        return Stored(stored[0].reader, torch.cat([part.rows for part in stored]))
    return torch.cat([part[:] for part in parts])


@dataclass(frozen=True)
class RowFile(Reader):
    """Rows of one size in a file, one after another: decoded images, windows of token ids.

    The file is read where it would otherwise be mapped: the system keeps its pages all the same, but what was read takes no memory
    of the process, and a file that has gone is an error, not the end of the process.

    Attributes:
        path: the file.
        shape: of one row.
        dtype: of the rows.
        stride: from the beginning of one row to that of the next, in bytes; 0: they touch. Less than a row has makes them overlap.
        changed: when the file was last changed, in nanoseconds since 1970; 0: it is not looked at.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8
    stride: int = 0
    changed: int = 0

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return rows `[n, ...]`; neighbours are read at once, and the disk hears of all rows before it is waited for."""
        size = prod(self.shape) * self.dtype.itemsize
        found = torch.empty(len(rows) * size, dtype=torch.uint8)
        buffer, stride = memoryview(found.numpy().data), self.stride or size
        runs = list(_runs(rows.tolist(), 1 + _MOST // size if stride == size else 1))
        problem = ""
        try:
            with self.path.open("rb", buffering=0) as file:
                if self.changed and os.fstat(file.fileno()).st_mtime_ns != self.changed:
                    problem = "it has changed"
                for row, _, count in runs if hasattr(os, "posix_fadvise") else ():
                    os.posix_fadvise(file.fileno(), row * stride, count * size, os.POSIX_FADV_WILLNEED)
                for row, place, count in runs:
                    part = buffer[place * size : (place + count) * size]
                    if os.preadv(file.fileno(), [part], row * stride) != len(part):
                        problem = "it is shorter than it was"
        except OSError as error:
            problem = str(error.strerror)
        if problem:
            raise DataError(f"{printable(str(self.path))} cannot be read ({problem}): it was there when the data were loaded")
        return found.view(self.dtype).view(len(rows), *self.shape)


def _runs(rows: Sequence[int], most: int) -> Iterator[tuple[int, int, int]]:
    """Yield row, place and length of every run of up to `most` rows that are neighbours."""
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1 or place - start == most:
            yield rows[start], start, place - start
            start = place


@dataclass(frozen=True)
class Wrapped(Reader):
    """What another reader reads, the same way, but for what a subclass changes.

    Attributes:
        reader: the other one.
    """

    reader: Reader

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """See `Reader`."""
        return self.reader.uses

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """See `Reader`."""
        return self.reader.shape

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """See `Reader`."""
        return self.reader.dtype

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """See `Reader`."""
        return self.reader.read(rows, draws)

    def stream(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """See `Reader`."""
        return self.reader.stream(wanted)

    def order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Reader`."""
        return self.reader.order(rows, generator)

    def close(self) -> None:
        """See `Reader`."""
        self.reader.close()


@dataclass(frozen=True)
class Windowed(Wrapped):
    """Rows that lie in shards, such as files, and are cheaper to read near to each other.

    Attributes:
        shards: which one each row of the reader lies in, int64.
        window: see `windowed`.
    """

    shards: Tensor
    window: int

    def order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random order in which rows of a shard stay near to each other; see `windowed`."""
        return windowed(self.shards[rows], self.window, generator)


def windowed(shards: Tensor, window: int, generator: torch.Generator) -> Tensor:
    """Return a random order of N places, int64 `[N]`: shards are shuffled and laid one after another, then places within a window.

    Args:
        shards: which one each place lies in, int64 `[N]`.
        window: nothing moves further than this from where the shuffled shards have it.
        generator: decides.
    """
    names, shard = np.unique(shards.numpy(), return_inverse=True)
    laid = torch.randperm(len(names), generator=generator)[torch.from_numpy(shard)].argsort(stable=True)
    moved = torch.arange(len(shards)) + window * torch.rand(len(shards), generator=generator, dtype=torch.float64)
    return laid[moved.argsort(stable=True)]


@dataclass(frozen=True)
class OwnRows(Wrapped):
    """What a worker reads where several share a batch: its own rows; the others are blank.

    Attributes:
        own: from the number of rows of a batch to this worker's.
    """

    own: Callable[[int], Sequence[slice]]

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return inputs `[n, ...]`, of which those of other workers are zero."""
        return next(self.stream([(rows, draws)]))

    def stream(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """Yield what `read` returns for every batch."""
        first, second = tee(wanted)
        found = self.reader.stream(own for own in map(self._own, first) if len(own[0]))
        for rows, _ in second:
            inputs = torch.zeros((), dtype=self.dtype).expand(len(rows), *self.shape)  # no memory for what nobody reads
            parts = self.own(len(rows))
            if any(len(rows[part]) for part in parts):
                inputs = inputs.clone(memory_format=torch.contiguous_format)
                for part, own in zip(parts, torch.split(next(found), [len(rows[part]) for part in parts]), strict=True):
                    inputs[part] = own
            yield inputs

    def _own(self, wanted: Wanted) -> Wanted:
        rows, draws = wanted
        parts = self.own(len(rows)) or [slice(0)]
        own = torch.cat([torch.arange(len(rows))[part] for part in parts])
        return rows[own], {name: draws[name][own] for name in self.uses & draws.keys()}
