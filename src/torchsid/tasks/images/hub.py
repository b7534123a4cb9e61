"""Data sets of the Hugging Face hub, through its `datasets` package: rows of Arrow files, which the package maps into memory."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.durable import replaced
from torchsid.errors import DataError, printable
from torchsid.packages import require
from torchsid.tasks import cache, ledger
from torchsid.tasks.files import Files
from torchsid.tasks.images import stream
from torchsid.tasks.images.datasets import HUB_PREFIX
from torchsid.tasks.images.datasets.shards import shards
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.encoded import Catalogue, Encoded
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.scan import Scan
from torchsid.tasks.parts import NAMES_OF
from torchsid.tasks.splitting import Labels, every_fifth

LABEL_COLUMNS = ("label", "labels", "fine_label")
_AT_ONCE = 10_000  # rows of labels


def read(request: Request) -> RawSet:
    """Download a data set (or take it from the package's own cache), or read it once as a stream; see `listed`.

    Raises:
        DataError: the extra `torchsid[hub]` is not installed, the data set cannot be had, or does not fit.
    """
    if request.stream:
        return _streamed(request)
    return decoded(listed(_loaded(request, cache_dir=request.path or None), request), request)


def _loaded(request: Request, **settings: Any) -> Mapping[str, Any]:
    datasets = require("datasets", extra="hub", purpose=f"reading {request.name}")
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(request.name.removeprefix(HUB_PREFIX), **settings)
    except Exception as error:  # the package raises errors of every kind: network, names, scripts
        raise DataError(f"{request.name} cannot be loaded ({type(error).__name__}: {error})") from error
    return splits


def _streamed(request: Request) -> RawSet:
    """Read a data set as a stream, unless it is kept already."""
    folder = stream.folder(request)
    with cache.locked(folder):
        folder.mkdir(exist_ok=True)
        if not (folder / stream.CLASSES).exists():
            splits = _loaded(request, streaming=True)
            parts = parts_of(splits, request.name)
            chosen = columns(splits["train"].features or {}, request.name)
            for part, split in parts.items():
                stream.keep(undecoded(splits[split], chosen), chosen, folder / part, request)
            names = map(str, splits["train"].features[chosen[1]].names)
            with replaced(folder / stream.CLASSES) as file:
                file.write("".join(f"{name}\n" for name in names).encode())
    return shards(replace(request, path=str(folder)))


def listed(splits: Mapping[str, Any], request: Request) -> Catalogue:
    """Return what a `datasets.DatasetDict` has, or a dictionary of data sets with one column of images and one of labels.

    The splits are called as in `NAMES_OF`; one for validation alone is the test part. Without either, that is every fifth sample of
    each class.
    """
    name = request.name
    parts = parts_of(splits, name)
    image, label = columns(splits["train"].features, name)
    images = ArrowImages(name, tuple((split, undecoded(splits[split], [image])) for split in parts.values()), image)
    return Catalogue(
        images=images,
        labels=np.concatenate([_labels(splits[split], label) for split in parts.values()]),
        parts={part: len(splits[split]) for part, split in parts.items()},
        class_names=tuple(map(str, splits["train"].features[label].names)),
        notes=tuple(f"the split {split!r} is not read" for split in splits if split not in parts.values()),
        files={request.name: images.sha256(request)},
        divide=every_fifth,
    )


def parts_of(splits: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the split that is each part, in order; a DataError where there is none to train on."""
    if "train" not in splits:
        raise DataError(f"{name} has no split 'train'; it has {', '.join(splits)}")
    chosen = {part: next((name for name in names if name in splits), "") for part, names in NAMES_OF.items()}
    found = {part: split for part, split in chosen.items() if split}
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return found


def columns(features: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return which column has the images, and which the labels; a DataError where that is not clear."""
    return _column(name, features, "Image", ("image", "img")), _column(name, features, "ClassLabel", LABEL_COLUMNS)


def undecoded(rows: Any, columns: Sequence[str]) -> Any:
    """Return rows with some columns, of which the first has the images, as they are stored."""
    return rows.select_columns([*columns]).cast_column(columns[0], type(rows.features[columns[0]])(decode=False))


def _column(name: str, features: Mapping[str, Any], kind: str, prefer: Sequence[str]) -> str:
    columns = [column for column, feature in features.items() if type(feature).__name__ == kind]
    chosen = [column for column in prefer if column in columns] or columns
    if not chosen or (len(columns) > 1 and chosen == columns):
        found = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
        raise DataError(f"{name} must have one column of type {kind}, or one called {' or '.join(prefer)}; has {found}")
    return chosen[0]


def _labels(dataset: Any, label: str) -> Labels:
    """Return labels, int64 `[N]`; −1, the hub's mark, where there is none."""
    batches = dataset.select_columns([label]).iter(batch_size=_AT_ONCE)
    return np.fromiter((-1 if value is None else value for batch in batches for value in batch[label]), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ArrowImages(Encoded):
    """Images in splits of a data set, one split after another.

    Attributes:
        name: of the data set.
        splits: name and rows of each, with images that are not decoded.
        column: of the images.
    """

    name: str
    splits: tuple[tuple[str, Any], ...]
    column: str

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(rows) for _, rows in self.splits)]

    def __len__(self) -> int:
        return self._starts[-1]

    def _at(self, i: int) -> tuple[str, Any, int]:
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        return *self.splits[number], i - self._starts[number]

    def read(self, i: int) -> bytes | None:
        """See `Encoded`."""
        _, rows, row = self._at(i)
        return stream.encoded(rows[row][self.column])

    def where(self, i: int) -> str:
        """See `Encoded`."""
        split, _, row = self._at(i)
        return printable(f"{self.name}, {split}, row {row}")

    def sha256(self, request: Request) -> str:
        """Return the SHA-256 of the files that the images are in, where the package says which, else of the images."""
        first = [rows[0][self.column] for _, rows in self.splits if len(rows)]
        if all(rows.cache_files for _, rows in self.splits) and all(value and value["bytes"] for value in first):
            scan = Scan(request.path or "/")
            files = Files.of(scan.file(file["filename"]) for _, rows in self.splits for file in rows.cache_files)
            found = ledger.sha256s(request.cache, request.name, Path(scan.root), files, request.files).tobytes()
        else:
            found = b"".join(hashlib.sha256(data).digest() for data in self._all())
        return hashlib.sha256(found).hexdigest()

    def _all(self) -> Iterator[bytes]:
        for i in range(len(self)):
            try:
                yield self.read(i) or b""
            except OSError as error:  # a bad sample, when it is decoded
                yield str(error.strerror).encode()
