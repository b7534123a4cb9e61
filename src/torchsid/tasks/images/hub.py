"""Data sets of the Hugging Face hub, through its `datasets` package."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.decode import gather_good, pixels
from torchsid.tasks.images.optional import require
from torchsid.tasks.images.raw import Images, RawPart, RawSet
from torchsid.tasks.images.sources import OnBadSample
from torchsid.tasks.images.stratify import every_fifth

TEST_SPLITS = ("test", "validation", "valid", "val")
LABEL_COLUMNS = ("label", "labels", "fine_label")


class HubDataset(Protocol):
    """What is used of a `datasets.Dataset`."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Columns by name; an image column is an `Image`, a label column a `ClassLabel` with `names`."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Mapping[str, Any]: ...


def read(repository: str, *, download_folder: str, on_bad_sample: OnBadSample) -> RawSet:
    """Download a data set (or take it from the package's own cache) and convert it.

    Raises:
        DataError: the extra `torchsid[hub]` is not installed, the data set cannot be had, or does not fit.
    """
    datasets = require("datasets", extra="hub", purpose=f"reading hub:{repository}")
    try:
        splits = datasets.load_dataset(repository, cache_dir=download_folder or None)
    except Exception as error:  # the package raises errors of every kind: network, names, scripts
        raise DataError(f"hub:{repository} cannot be loaded ({type(error).__name__}: {error})") from error
    return convert(splits, name=f"hub:{repository}", on_bad_sample=on_bad_sample)


def convert(splits: Mapping[str, HubDataset], *, name: str, on_bad_sample: OnBadSample) -> RawSet:
    """Convert a `datasets.DatasetDict`, or a dictionary of data sets, with one image and one label column.

    The test part is the split `test`, else `validation`; without either, every fifth sample of each class.
    """
    if "train" not in splits:
        raise DataError(f"{name} has no split 'train'; it has {', '.join(splits)}")
    features = splits["train"].features
    image = _column(name, features, "Image", prefer=("image", "img"))
    label = _column(name, features, "ClassLabel", prefer=LABEL_COLUMNS)
    class_names = tuple(str(each) for each in features[label].names)
    train, notes = _part(splits["train"], f"{name}, train", image, label, on_bad_sample)
    test_split = next((split for split in TEST_SPLITS if split in splits), None)
    if test_split is None:
        rest, chosen = every_fifth(train.labels)
        return RawSet(train=train.take(rest), test=train.take(chosen), class_names=class_names, skipped=notes)
    test, more = _part(splits[test_split], f"{name}, {test_split}", image, label, on_bad_sample)
    return RawSet(train=train, test=test, class_names=class_names, skipped=(*notes, *more))


def _column(name: str, features: Mapping[str, Any], kind: str, prefer: Sequence[str]) -> str:
    columns = [column for column, feature in features.items() if type(feature).__name__ == kind]
    chosen = [column for column in prefer if column in columns] or columns
    if not chosen or (len(columns) > 1 and chosen == columns):
        found = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
        raise DataError(f"{name} must have one column of type {kind}, or one called {' or '.join(prefer)}; has {found}")
    return chosen[0]


def _part(dataset: HubDataset, place: str, image: str, label: str, on_bad_sample: OnBadSample) -> tuple[RawPart, tuple[str, ...]]:
    labels: list[int] = []

    def outcomes() -> Iterator[Images | DataError]:
        for i in range(len(dataset)):
            try:
                row = dataset[i]
                value = row[label]
                labels.append(-1 if value is None else int(value))  # the hub's mark for "no label" is −1
                yield pixels(row[image])
            except (OSError, SyntaxError, ValueError, AttributeError) as error:
                labels[i:] = [-1]
                yield DataError(f"not decodable ({error})")

    images, kept, notes = gather_good(list(outcomes()), where=lambda i: f"{place}, row {i}", on_bad_sample=on_bad_sample)
    return RawPart(images, np.array(labels, dtype=np.int64)[kept], kept), notes
