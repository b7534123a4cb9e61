"""What every source returns: the images of a data set as its files hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class RawPart:
    """Images `[N, C, H, W]`, labels `[N]`, and `rows` `[N]`: which row of the source each one was."""

    images: Images
    labels: Labels
    rows: Labels

    @classmethod
    def complete(cls, images: Images, labels: NDArray[np.integer]) -> "RawPart":
        """A part of which no row was left out."""
        return cls(images=images, labels=labels.astype(np.int64), rows=np.arange(len(labels), dtype=np.int64))

    def take(self, index: Labels) -> "RawPart":
        """The samples at `index`."""
        return RawPart(self.images[index], self.labels[index], self.rows[index])


@dataclass(frozen=True)
class RawSet:
    """A training and a test part with the names of their classes."""

    train: RawPart
    test: RawPart
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    """What was left out and why, a sentence each."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every file read."""
