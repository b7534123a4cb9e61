"""Tokens in a file, read in windows: nanoGPT's `train.bin`, or what a vocabulary has made of a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from torchsid.tasks.stored import NO_DRAWS, Draws, Reader, RowFile


@dataclass(frozen=True)
class Windows(Reader):
    """Windows of `width` tokens, of which one begins every `step` tokens; in training each of a batch `offset` tokens later.

    Attributes:
        path: a file of token ids and nothing else.
        width: of a window.
        step: from the beginning of one to that of the next.
        dtype: of an id.
        first: the token with which the first window begins.
        changed: when the file was; see `RowFile`.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"offset"})

    path: Path
    width: int
    step: int
    dtype: torch.dtype = torch.uint16
    first: int = 0
    changed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """`(width,)`."""
        return (self.width,)

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return windows `[n, width]`; `offset` is int64 `[n]`."""
        starts = self.first + rows * self.step + draws.get("offset", torch.tensor(0))
        return RowFile(self.path, (self.width,), self.dtype, stride=self.dtype.itemsize, changed=self.changed).read(starts)
