"""Files as their folder knows them, millions in little memory."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchsid.tasks.packed_names import Names


class File(NamedTuple):
    """A file as its folder knows it."""

    name: str
    """Below the folder that is scanned, with slashes."""
    size: int = -1
    """In bytes; −1 where it cannot be looked at: a link that leads nowhere."""
    time: int = -1
    """When it was last changed, in nanoseconds since 1970; −1 likewise."""


@dataclass(frozen=True, eq=False)
class Files:
    """Many files: `names`, `sizes` and `times` (int64 `[N]`) of each; see `File`."""

    names: Names
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, files: Iterable[File]) -> "Files":
        """Return files compactly."""
        sizes, times = array("q"), array("q")

        def names() -> Iterator[str]:
            for name, size, time in files:
                sizes.append(size)
                times.append(time)
                yield name

        called = Names.of(names())
        return cls(called, np.array(sizes, dtype=np.int64), np.array(times, dtype=np.int64))
