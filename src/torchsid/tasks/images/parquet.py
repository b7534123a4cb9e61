"""Parquet files in the layout of the Hugging Face hub.

The image column is a struct `{bytes, path}` of one encoded image, labels are integers, and the class names are in the
schema's metadata under the key `huggingface`.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.tasks.images.decode import require
from torchsid.tasks.images.encoded import Catalogue, Encoded, unchanged
from torchsid.tasks.images.raw import Labels
from torchsid.tasks.images.sources import Files, Source

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table
    from pyarrow.parquet import ParquetFile


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
    with _opened(path, (("img", "image"), (label,))) as (file, (image, _)):
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


def read_columns(path: Path, *, one_of: Sequence[Sequence[str]]) -> "Table":
    """Read the columns of a Parquet file as a `pyarrow.Table`; of each group of names the first that is there.

    Raises:
        DataError: the file is missing, truncated or no Parquet, or has none of a group's columns, or two of that name.
    """
    with _opened(path, one_of) as (file, chosen):
        return file.read(columns=chosen).select(chosen)


@contextmanager
def _opened(path: Path, one_of: Sequence[Sequence[str]]) -> "Iterator[tuple[ParquetFile, list[str]]]":
    """Open a file and find its columns; raises as `read_columns`, also for what goes wrong while it is open."""
    parquet = require("pyarrow.parquet", extra="files", purpose="reading Parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            yield file, chosen_columns(path, file.schema_arrow.names, one_of)
    except DataError:
        raise
    except Exception as error:  # damaged files raise errors of every kind
        raise DataError(f"{path} is missing, truncated or no Parquet file ({error})") from error


def chosen_columns(path: Path, columns: Sequence[str], one_of: Sequence[Sequence[str]]) -> list[str]:
    """Return of each group of names the first that a file has as a column; a DataError says which are missing or doubled."""
    chosen = [next((name for name in names if name in columns), "") for names in one_of]
    absent = [" or ".join(names) for names, name in zip(one_of, chosen, strict=True) if not name]
    if absent:
        raise DataError(f"{path} has no column {', '.join(absent)}; it has {', '.join(columns)}")
    if doubled := [name for name in chosen if columns.count(name) > 1]:
        raise DataError(f"{path} has several columns called {', '.join(doubled)}: rename all but one")
    return chosen


def integers(path: Path, name: str, column: "ChunkedArray") -> Labels:
    """Return a column of integers as int64 `[N]`."""
    types = require("pyarrow.types", extra="files", purpose="reading Parquet files")
    if not types.is_integer(column.type) or column.null_count:
        found = f"{column.null_count} empty rows" if column.null_count else f"type {column.type}"
        raise DataError(f"{path}: column {name!r} must hold one integer a row, found {found}")
    values: Labels = column.to_numpy().astype(np.int64)
    return values


def class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """Return the class names that the hub's metadata give for a label column, or none."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def missing_shards(paths: Sequence[Path]) -> list[str]:
    """Say which shards of `NAME-00000-of-00002.parquet` are not there: half a data set should not go unseen."""
    shards = [match for path in paths if (match := re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})(.*)", path.name))]
    if not shards:
        return []
    there, total = {int(shard[2]) for shard in shards}, int(shards[0][3])
    stem = shards[0][1]
    return [f"{stem}-{i:05}-of-{total:05}: this file was not found" for i in range(total) if i not in there]
