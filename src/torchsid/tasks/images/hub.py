"""Data sets of the Hugging Face hub, through its `datasets` package."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.decode import decode_all, pixels, require
from torchsid.tasks.images.parts import PARTS
from torchsid.tasks.images.raw import RawPart, RawSet, every_fifth
from torchsid.tasks.images.request import OnBadSample

LABEL_COLUMNS = ("label", "labels", "fine_label")


def read(repository: str, *, download_folder: str, on_bad_sample: OnBadSample, side: int = 0) -> RawSet:
    """Download a data set (or take it from the package's own cache) and convert it.

    Raises:
        DataError: the extra `torchsid[hub]` is not installed, the data set cannot be had, or does not fit.
    """
    datasets = require("datasets", extra="hub", purpose=f"reading hub:{repository}")
    try:
        splits = datasets.load_dataset(repository, cache_dir=download_folder or None)
    except Exception as error:  # the package raises errors of every kind: network, names, scripts
        raise DataError(f"hub:{repository} cannot be loaded ({type(error).__name__}: {error})") from error
    return convert(splits, name=f"hub:{repository}", on_bad_sample=on_bad_sample, side=side)


def convert(splits: Mapping[str, Any], *, name: str, on_bad_sample: OnBadSample, side: int = 0) -> RawSet:
    """Convert a `datasets.DatasetDict`, or a dictionary of data sets, with one image and one label column.

    The splits are called as the folders of `folders.PARTS`; one for validation alone is the test part. Without either, that is
    every fifth sample of each class.
    """
    if "train" not in splits:
        raise DataError(f"{name} has no split 'train'; it has {', '.join(splits)}")
    features = splits["train"].features
    image = _column(name, features, "Image", prefer=("image", "img"))
    label = _column(name, features, "ClassLabel", prefer=LABEL_COLUMNS)

    def part(split: str) -> tuple[RawPart, tuple[str, ...]]:
        dataset = splits[split]
        labels = [-1 if value is None else int(value) for value in dataset[label]]  # the hub's mark for "no label" is −1
        return decode_all(
            lambda i: pixels(dataset[i][image], size=(side, side) if side else None),
            np.array(labels, dtype=np.int64),
            where=lambda i: f"{name}, {split}, row {i}",
            on_bad_sample=on_bad_sample,
        )

    chosen = {kind: next((split for split in names if split in splits), None) for kind, names in PARTS.items()}
    if chosen["test"] is None:
        chosen["test"], chosen["validation"] = chosen["validation"], None
    parts: dict[str, Any] = {}
    notes = [f"the split {split!r} is not read" for split in splits if split not in chosen.values()]
    for kind, split in chosen.items():
        if split is not None:
            parts[kind], more = part(split)
            notes += more
    if "test" not in parts:
        parts["train"], parts["test"] = map(parts["train"].take, every_fifth(parts["train"].labels))
    return RawSet(**parts, class_names=tuple(map(str, features[label].names)), skipped=tuple(notes))


def _column(name: str, features: Mapping[str, Any], kind: str, prefer: Sequence[str]) -> str:
    columns = [column for column, feature in features.items() if type(feature).__name__ == kind]
    chosen = [column for column in prefer if column in columns] or columns
    if not chosen or (len(columns) > 1 and chosen == columns):
        found = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
        raise DataError(f"{name} must have one column of type {kind}, or one called {' or '.join(prefer)}; has {found}")
    return chosen[0]
