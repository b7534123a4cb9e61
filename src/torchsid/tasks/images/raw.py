"""What every source returns: a data set as its files hold it; what every one must fulfil."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from torchsid.errors import DataError, bullets
from torchsid.tasks.packed_names import Names
from torchsid.tasks.splitting import Labels
from torchsid.tasks.stored import Stored

Pixels = NDArray[np.uint8]
Sums = NDArray[np.int64]
"""Of each image and channel the sum of its pixels and of their squares, `[N, C, 2]`; −1 where nobody has added them up."""


@dataclass(frozen=True)
class RawPart:
    """Images of one part and what is known of each.

    Attributes:
        images: `[N, C, H, W]`, in memory or where they are read.
        labels: `[N]`.
        rows: `[N]`, which row of the source each was.
        names: where they have any.
        sums: of their pixels; None where they are in memory and can be asked.
    """

    images: Pixels | Stored
    labels: Labels
    rows: Labels
    names: Names | None = None
    sums: Sums | None = None

    @classmethod
    def complete(cls, images: Pixels, labels: NDArray[np.integer]) -> "RawPart":
        """A part of which no row was left out."""
        return cls(images=images, labels=labels.astype(np.int64), rows=np.arange(len(labels), dtype=np.int64))

    def take(self, index: Labels) -> "RawPart":
        """The samples at `index`."""
        images = self.images.subset(torch.from_numpy(index)) if isinstance(self.images, Stored) else self.images[index]
        names, sums = self.names and self.names[index], None if self.sums is None else self.sums[index]
        return RawPart(images, self.labels[index], self.rows[index], names, sums)


@dataclass(frozen=True)
class RawSet:
    """A training and a test part, maybe one for validation, with the names of their classes."""

    train: RawPart
    test: RawPart
    class_names: tuple[str, ...]
    validation: RawPart | None = None
    """None where it is to be cut from the training part."""
    skipped: tuple[str, ...] = ()
    """What was left out and why, or read otherwise than it may seem, a sentence each."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of every file read."""
    key: str = ""
    """What the pixels follow from, a SHA-256; empty where nobody knows but who looks at them."""

    def check(self, name: str) -> None:
        """Check labels, classes and shapes.

        Raises:
            DataError: lists all that is wrong.
        """
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        there = {which: part for which, part in parts.items() if part is not None}
        problems = [problem for which, part in there.items() for problem in self._problems_of(part, which)]
        shape = tuple(self.train.images.shape[1:])
        for which, part in there.items():
            if (other := tuple(part.images.shape[1:])) != shape:
                problems.append(f"training images are {shape} (channels, height, width), {which} images {other}")
        if len(self.class_names) < 2:
            problems.append(f"there must be at least two classes, found {len(self.class_names)}")
        if len(set(self.class_names)) != len(self.class_names):
            problems.append("two classes have the same name")
        problems += empty_classes(self.train.labels, self.class_names)
        if problems:
            raise DataError(f"{name} cannot be used:{bullets(problems)}")

    def _problems_of(self, part: RawPart, which: str) -> Iterator[str]:
        count, channels, height, width = part.images.shape
        if len(part.labels) != count:
            yield f"{count} {which} images but {len(part.labels)} labels"
        if 0 in (count, height, width):
            yield f"the {which} set is empty"
        if channels not in (1, 3):
            yield f"{which} images have {channels} channels; 1 (grey) or 3 (colour) are allowed"
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(self.class_names)))
        if len(wrong):
            first = f"the first is {part.labels[wrong[0]]} in row {part.rows[wrong[0]]}"
            yield f"{len(wrong)} {which} labels are outside 0 … {len(self.class_names) - 1}, {first}"


def sums_of(images: Pixels) -> Sums:
    """Return the sum of the pixels of each image and channel, and that of their squares, exactly."""
    values = images.reshape(*images.shape[:2], -1)
    return np.stack([values.sum(2, dtype=np.int64), np.square(values, dtype=np.uint16).sum(2, dtype=np.int64)], 2)


def empty_classes(labels: Labels, class_names: tuple[str, ...]) -> list[str]:
    """Return a sentence when classes have no training image."""
    present = set(np.unique(labels).tolist())
    absent = [name for i, name in enumerate(class_names) if i not in present]
    return [f"{len(absent)} classes have no training image: {', '.join(absent[:10])}"] if absent else []
