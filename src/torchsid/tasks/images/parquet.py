"""Parquet files in the layout of the Hugging Face hub.

The image column is a struct `{bytes, path}` of one encoded image, labels are integers, and the class names are in the
schema's metadata under the key `huggingface`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.decode import decode, decode_all, require
from torchsid.tasks.images.raw import Labels, RawPart, RawSet
from torchsid.tasks.images.sources import Files, OnBadSample, Source

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table


@dataclass(frozen=True)
class ParquetSource(Source):
    """A data set in Parquet files."""

    decoding_is_slow: ClassVar[bool] = True

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

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """See `Source`; the class names of both parts must agree."""
        train, train_names, train_notes = self._read_part(files["train"], on_bad_sample)
        test, test_names, test_notes = self._read_part(files["test"], on_bad_sample)
        if train_names != test_names:
            raise DataError(f"the class names of {files['train'][0].name} and {files['test'][0].name} differ")
        if len(train_names) != self.num_classes:
            raise DataError(f"{files['train'][0].name} has {len(train_names)} classes, {self.stem} {self.num_classes}")
        missing = [*missing_shards(files["train"]), *missing_shards(files["test"])]
        return RawSet(train=train, test=test, class_names=train_names, skipped=(*missing, *train_notes, *test_notes))

    def _read_part(self, paths: Sequence[Path], on_bad_sample: OnBadSample) -> tuple[RawPart, tuple[str, ...], tuple[str, ...]]:
        """Return the part, the class names and a sentence for each skipped sample."""
        tables = {path: read_columns(path, one_of=(("img", "image"), (self.label,))) for path in paths}
        encoded = [data for path, table in tables.items() for data in _image_bytes(path, table.column(0))]
        files = [file for table in tables.values() for file in _file_names(table.column(0))]
        labels = np.concatenate([integers(path, self.label, table.column(1)) for path, table in tables.items()])
        places = [f"{path.name}, row {row}" for path, table in tables.items() for row in range(table.num_rows)]
        named = {names: path for path, table in tables.items() if (names := class_names(table.schema.metadata, self.label))}
        if len(named) > 1:
            raise DataError(f"the class names of {' and '.join(path.name for path in named.values())} differ")
        names = next(iter(named), tuple(map(str, range(self.num_classes))))
        part, notes = decode_all(
            lambda i: decode(encoded[i], self.channels),
            labels,
            where=places.__getitem__,
            on_bad_sample=on_bad_sample,
            names=[file for file in files if file] if all(files) else None,
        )
        return part, names, notes


def read_columns(path: Path, *, one_of: Sequence[Sequence[str]]) -> "Table":
    """Read the columns of a Parquet file as a `pyarrow.Table`; of each group of names the first that is there.

    Raises:
        DataError: the file is missing, truncated or no Parquet, or has none of a group's columns, or two of that name.
    """
    parquet = require("pyarrow.parquet", extra="files", purpose="reading Parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            chosen = [next((name for name in names if name in columns), None) for names in one_of]
            absent = [" or ".join(names) for names, name in zip(one_of, chosen, strict=True) if name is None]
            if absent:
                raise DataError(f"{path} has no column {', '.join(absent)}; it has {', '.join(columns)}")
            if doubled := [name for name in chosen if name and columns.count(name) > 1]:
                raise DataError(f"{path} has several columns called {', '.join(doubled)}: rename all but one")
            return file.read(columns=chosen).select(chosen)
    except DataError:
        raise
    except Exception as error:  # damaged files raise errors of every kind
        raise DataError(f"{path} is missing, truncated or no Parquet file ({error})") from error


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


def _image_bytes(path: Path, column: "ChunkedArray") -> list[bytes | None]:
    types = require("pyarrow.types", extra="files", purpose="reading Parquet files")
    kinds = [field.type for field in column.type if field.name == "bytes"] if types.is_struct(column.type) else []
    if len(kinds) != 1 or not (types.is_binary(kinds[0]) or types.is_large_binary(kinds[0])):
        raise DataError(f"{path}: the image column must be a struct with binary `bytes`, not {column.type}")
    compute = require("pyarrow.compute", extra="files", purpose="reading Parquet files")
    values: list[bytes | None] = compute.struct_field(column, "bytes").to_pylist()
    return values


def _file_names(column: "ChunkedArray") -> list[str | None]:
    """Return what the images' files were called before they were put into this one, where the column says it."""
    types = require("pyarrow.types", extra="files", purpose="reading Parquet files")
    if not any(field.name == "path" and types.is_string(field.type) for field in column.type):
        return [None] * len(column)
    compute = require("pyarrow.compute", extra="files", purpose="reading Parquet files")
    names: list[str | None] = compute.struct_field(column, "path").to_pylist()
    return names
