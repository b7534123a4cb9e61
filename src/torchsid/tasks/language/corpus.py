"""A text as tokens in files, and where its parts lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from torchsid.tasks.stored import RowFile
from torchsid.tasks.vocabulary import Vocabulary


@dataclass(frozen=True)
class Part:
    """Tokens of one part of a corpus: `count` of them in a file, from `first` on."""

    path: Path
    first: int
    count: int
    dtype: torch.dtype = torch.uint16
    characters: int = 0
    """Of its text; 0 where tokens were given."""
    bytes: int = 0
    """Of its text in UTF-8."""
    changed: int = 0
    """When the file was, in nanoseconds since 1970."""

    def tokens_per(self) -> dict[str, float]:
        """Return how many tokens there are for a character, and for a byte, of a text."""
        return {"characters": self.count / self.characters, "bytes": self.count / self.bytes} if self.bytes else {}

    def read(self, starts: Tensor, width: int) -> Tensor:
        """Return some windows of tokens, `[n, width]`, by where each begins, int64 `[n]`.

        Raises:
            DataError: the file has gone, or has changed.
        """
        windows = RowFile(self.path, (width,), self.dtype, stride=self.dtype.itemsize, changed=self.changed)
        return windows.read(self.first + starts)


@dataclass(frozen=True)
class Corpus:
    """A corpus as tokens.

    Attributes:
        parts: `train`, what is learnt from; `validation`, what comes after it; `test`, what comes last, or has a file of its own.
        vocabulary: `Numbers` where tokens were given.
        files: SHA-256 of what was read.
        sha256: of all tokens.
    """

    parts: Mapping[str, Part]
    vocabulary: Vocabulary
    files: Mapping[str, str]
    sha256: str
