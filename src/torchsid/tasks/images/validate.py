"""What every data set must fulfil, whatever it was read from."""

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.raw import Labels, RawPart, RawSet


def check(raw: RawSet, name: str) -> None:
    """Check labels, classes and shapes.

    Raises:
        DataError: lists all that is wrong.
    """
    problems = [*_part_problems(raw.train, "training", raw), *_part_problems(raw.test, "test", raw)]
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        problems.append(
            f"training images are {raw.train.images.shape[1:]} (channels, height, width), test images {raw.test.images.shape[1:]}"
        )
    if len(raw.class_names) < 2:
        problems.append(f"there must be at least two classes, found {len(raw.class_names)}")
    if len(set(raw.class_names)) != len(raw.class_names):
        problems.append("two classes have the same name")
    problems += empty_classes(raw.train.labels, raw.class_names)
    if problems:
        raise DataError(f"{name} cannot be used:" + "".join(f"\n  - {problem}" for problem in problems))


def empty_classes(labels: Labels, class_names: tuple[str, ...]) -> list[str]:
    """Return a sentence when classes have no training image."""
    present = set(np.unique(labels).tolist())
    absent = [name for i, name in enumerate(class_names) if i not in present]
    return [f"{len(absent)} classes have no training image: {', '.join(absent[:10])}"] if absent else []


def _part_problems(part: RawPart, which: str, raw: RawSet) -> list[str]:
    problems = []
    count, channels, height, width = part.images.shape
    if len(part.labels) != count:
        problems.append(f"{count} {which} images but {len(part.labels)} labels")
    if 0 in (count, height, width):
        problems.append(f"the {which} set is empty")
    if channels not in (1, 3):
        problems.append(f"{which} images have {channels} channels; 1 (grey) or 3 (colour) are allowed")
    wrong = np.flatnonzero((part.labels < 0) | (part.labels >= len(raw.class_names)))
    if len(wrong):
        first = wrong[0]
        problems.append(
            f"{len(wrong)} {which} labels are outside 0 … {len(raw.class_names) - 1}, "
            f"the first is {part.labels[first]} in row {part.rows[first]}"
        )
    return problems
