"""Tokens in a file, read in windows: nanoGPT's `train.bin`, or what a vocabulary has made of a text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torchsid.tasks.language.corpus import Part
from torchsid.tasks.stored import NO_DRAWS, Draws, Reader


@dataclass(frozen=True)
class Windows(Reader):
    """Windows of `width` tokens, of which one begins every `step` tokens; in training each of a batch `offset` tokens later.

    Attributes:
        part: the tokens.
        width: of a window.
        step: from the beginning of one to that of the next.
        first: the token with which the first window begins.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"offset"})

    part: Part
    width: int
    step: int
    first: int = 0

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """`(width,)`."""
        return (self.width,)

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """Of a token."""
        return self.part.dtype

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return windows `[n, width]`; `offset` is int64 `[n]`."""
        return self.part.read(self.first + rows * self.step + draws.get("offset", torch.tensor(0)), self.width)
