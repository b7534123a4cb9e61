"""Parquet files in the layout of the Hugging Face hub.

The image column is a struct `{bytes, path}` of one encoded image, labels are integers, and the class names are in the
schema's metadata under the key `huggingface`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.packages import require
from torchsid.tasks.columns import class_names, integers, missing_shards, opened
from torchsid.tasks.images.encoded import Catalogue, Encoded, unchanged
from torchsid.tasks.images.sources import Files, Source
from torchsid.tasks.splitting import Labels

if TYPE_CHECKING:
    from pyarrow import ChunkedArray


_KEPT = 2**28  # bytes of row groups


@dataclass(frozen=True)
class ParquetSource(Source):
    """A data set in Parquet files."""

    stem: str
    """Our own files are `STEM-train.parquet`, `STEM-train-*.parquet` and likewise for test."""
    num_classes: int
    channels: int
    label: str = "label"
    folders: tuple[str, ...] = ()
    """Where the hub's repository keeps its files, besides its root and `data/`."""
    test: tuple[str, ...] = ("test",)
    """What the test split is called."""

    def patterns(self) -> Mapping[str, Sequence[str]]:
        """See `Source`."""
        folders = ["", "data/", *(f"{folder}/" for folder in self.folders)]

        def of(split: str) -> list[str]:
            own = [f"{self.stem}-{split}.parquet", f"{self.stem}-{split}-*.parquet"]
            return own + [f"{folder}{split}-*.parquet" for folder in folders]

        return {"train": of("train"), "test": [pattern for split in self.test for pattern in of(split)]}

    def read(self, files: Files) -> Catalogue:
        """See `Source`; the class names of all files must agree."""
        paths = [path for part in files.values() for path in part]
        listed = [_listed(path, self.label) for path in paths]
        named = dict[tuple[str, ...], Path]()
        for path, each in zip(paths, listed, strict=True):
            if each.class_names:
                named.setdefault(each.class_names, path)
        if len(named) > 1:
            raise DataError(f"the class names of {' and '.join(path.name for path in named.values())} differ")
        classes = next(iter(named), tuple(map(str, range(self.num_classes))))
        if len(classes) != self.num_classes:
            raise DataError(f"{paths[0].name} has {len(classes)} classes, {self.stem} {self.num_classes}")
        counts = {path: len(each.labels) for path, each in zip(paths, listed, strict=True)}
        called = [each.names for each in listed]
        return Catalogue(
            images=ParquetImages(tuple(each.rows for each in listed)),
            labels=np.concatenate([each.labels for each in listed]),
            parts={part: sum(counts[path] for path in files[part]) for part in files},
            names=[name for each in called for name in each] if all(called) else None,
            class_names=classes,
            channels=self.channels,
            notes=tuple(note for part in files.values() for note in missing_shards(part)),
            files={},
        )


class _Listed(NamedTuple):
    """What a file has beside the images."""

    rows: "RowGroups"
    labels: Labels
    names: Sequence[str]
    """What the images' files were called before they were put into this one; empty where it does not say it of all."""
    class_names: tuple[str, ...]


class RowGroups(NamedTuple):
    """The column of images in a file, of which only groups of rows can be read."""

    path: Path
    state: tuple[int, int]
    """Of the file when it was listed: its size and when it was changed."""
    column: str
    counts: tuple[int, ...]
    """The rows of every group."""


@dataclass(frozen=True)
class ParquetImages(Encoded):
    """The rows of some files, one file after another."""

    read_by_shard: ClassVar[bool] = True

    files: tuple[RowGroups, ...]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, i: int) -> bytes | None:
        """See `Encoded`; the groups that were read last are kept."""
        number = self._group(i)
        file, group = self._groups[number]
        start = self._ends[number] - self.files[file].counts[group]
        with self._lock:
            if number not in self._kept:
                try:
                    self._kept[number] = _encoded(self.files[file], group)
                except Exception as error:  # damaged files raise errors of every kind
                    self._kept[number] = error
                while len(self._kept) > 1 and sum(getattr(each, "nbytes", 0) for each in self._kept.values()) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            found = self._kept[number]
        if isinstance(found, Exception):
            raise found
        value: bytes | None = found[int(i - start)].as_py()
        return value

    def __reduce__(self) -> tuple[type["ParquetImages"], tuple[tuple[RowGroups, ...]]]:
        return ParquetImages, (self.files,)  # not what is kept

    def where(self, i: int) -> str:
        """See `Encoded`."""
        file, _ = self._groups[self._group(i)]
        return f"{printable(self.files[file].path.name)}, row {i - sum(sum(each.counts) for each in self.files[:file])}"

    @property
    def shards(self) -> Labels:
        """See `Encoded`: the groups of rows."""
        return np.repeat(np.arange(len(self._groups)), np.diff(self._ends, prepend=0))

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        """The file and the place in it of every group."""
        return [(number, group) for number, file in enumerate(self.files) for group in range(len(file.counts))]

    @cached_property
    def _ends(self) -> Labels:
        """Where every group ends, in images."""
        return np.cumsum([0, *(count for file in self.files for count in file.counts)])[1:]

    @cached_property
    def _kept(self) -> "OrderedDict[int, ChunkedArray | Exception]":
        """The groups that were read last, or what was wrong with them."""
        return OrderedDict()

    @cached_property
    def _lock(self) -> Lock:
        return Lock()

    def _group(self, i: int) -> int:
        return int(np.searchsorted(self._ends, i, side="right"))


def _encoded(rows: RowGroups, group: int) -> "ChunkedArray":
    parquet = require("pyarrow.parquet", extra="files", purpose="reading Parquet files")
    compute = require("pyarrow.compute", extra="files", purpose="reading Parquet files")
    with unchanged(rows.path, *rows.state), parquet.ParquetFile(rows.path) as file:
        return compute.struct_field(file.read_row_group(group, columns=[f"{rows.column}.bytes"]).column(0), "bytes")


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _listed(path: Path, label: str) -> _Listed:
    """Return what a file has beside the images, which are not read."""
    types = require("pyarrow.types", extra="files", purpose="reading Parquet files")
    compute = require("pyarrow.compute", extra="files", purpose="reading Parquet files")
    with opened(path, (("img", "image"), (label,))) as (file, (image, _)):
        column = file.schema_arrow.field(image).type
        kinds = [field.type for field in column if field.name == "bytes"] if types.is_struct(column) else []
        if len(kinds) != 1 or not (types.is_binary(kinds[0]) or types.is_large_binary(kinds[0])):
            raise DataError(f"{path}: the image column must be a struct with binary `bytes`, not {column}")
        named = any(field.name == "path" and types.is_string(field.type) for field in column)
        table = file.read(columns=[label, *([f"{image}.path"] if named else [])])
        names = compute.struct_field(table.column(image), "path").to_pylist() if named else []
        counts = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        return _Listed(
            RowGroups(path, _state(path), image, counts),
            integers(path, label, table.column(label)),
            names if all(names) else (),
            class_names(table.schema.metadata, label),
        )
