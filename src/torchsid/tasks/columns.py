"""Columns of tables: Parquet files, and what the Hugging Face hub writes into them."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchsid.errors import DataError
from torchsid.packages import require
from torchsid.tasks.splitting import Labels

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table
    from pyarrow.parquet import ParquetFile


def read_columns(path: Path, *, one_of: Sequence[Sequence[str]]) -> "Table":
    """Read the columns of a Parquet file as a `pyarrow.Table`; of each group of names the first that is there.

    Raises:
        DataError: the file is missing, truncated or no Parquet, or has none of a group's columns, or two of that name.
    """
    with opened(path, one_of) as (file, chosen):
        return file.read(columns=chosen).select(chosen)


@contextmanager
def opened(path: Path, one_of: Sequence[Sequence[str]]) -> "Iterator[tuple[ParquetFile, list[str]]]":
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
