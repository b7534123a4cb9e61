"""What every source returns: the images of a data set as its files hold them; and what every data set must fulfil."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import DataError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class RawPart:
    """Images `[N, C, H, W]`, labels `[N]`, and `rows` `[N]`: which row of the source each one was."""

    images: Pixels
    labels: Labels
    rows: Labels

    @classmethod
    def complete(cls, images: Pixels, labels: NDArray[np.integer]) -> "RawPart":
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

    def check(self, name: str) -> None:
        """Check labels, classes and shapes.

        Raises:
            DataError: lists all that is wrong.
        """
        problems = [*self._problems_of(self.train, "training"), *self._problems_of(self.test, "test")]
        shape, other = self.train.images.shape[1:], self.test.images.shape[1:]
        if shape != other:
            problems.append(f"training images are {shape} (channels, height, width), test images {other}")
        if len(self.class_names) < 2:
            problems.append(f"there must be at least two classes, found {len(self.class_names)}")
        if len(set(self.class_names)) != len(self.class_names):
            problems.append("two classes have the same name")
        problems += empty_classes(self.train.labels, self.class_names)
        if problems:
            raise DataError(f"{name} cannot be used:" + "".join(f"\n  - {problem}" for problem in problems))

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


def empty_classes(labels: Labels, class_names: tuple[str, ...]) -> list[str]:
    """Return a sentence when classes have no training image."""
    present = set(np.unique(labels).tolist())
    absent = [name for i, name in enumerate(class_names) if i not in present]
    return [f"{len(absent)} classes have no training image: {', '.join(absent[:10])}"] if absent else []
