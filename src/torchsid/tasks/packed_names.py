"""Millions of names in little memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import printable


@dataclass(frozen=True, eq=False)
class Names(Sequence[str]):
    """A sequence of strings in one array of bytes; parts of it share the bytes.

    Attributes:
        text: UTF-8, also with what a file's name has that is none (`surrogateescape`).
        spans: where each name begins and ends in it, int64 `[N, 2]`.
    """

    text: bytes
    spans: NDArray[np.int64]

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Return names compactly; what is compact already as it is."""
        if isinstance(names, cls):
            return names
        text, ends = bytearray(), array("q", [0])
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        edges = np.frombuffer(ends, dtype=np.int64)
        return cls(bytes(text), np.stack([edges[:-1], edges[1:]], axis=1))

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | NDArray[np.int64]) -> "Names": ...
    def __getitem__(self, index: Any) -> "str | Names":
        if isinstance(index, slice | np.ndarray):
            return Names(self.text, self.spans[index])
        start, end = self.spans[index].tolist()
        return self.text[start:end].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self.text[start:end].decode("utf-8", "surrogateescape") for start, end in zip(*self.spans.T.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} names>"

    def printable(self) -> "Names":
        """Return names that can be written anywhere; see `torchsid.errors.printable`."""
        usual = self.text.isascii() and self.text.decode().isprintable()
        return self if usual else Names.of(map(printable, self))
