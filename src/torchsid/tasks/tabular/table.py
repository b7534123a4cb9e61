"""Tables as columns of numbers or texts, with what stands where neither does."""

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import DataError, printable
from torchsid.packages import require
from torchsid.tasks.columns import missing_shards, opened
from torchsid.tasks.tables import SEPARATORS, is_parquet, parsed

if TYPE_CHECKING:
    from pyarrow import ChunkedArray

Cells = NDArray[Any]
"""A column, `[N]`: float64 with NaN where nothing stands, or objects, each a text or None."""


@dataclass(frozen=True)
class Table:
    """Rows of one or several files.

    Attributes:
        columns: by name, all of one length.
        files: name and number of rows of each.
        notes: a sentence for each missing shard.
    """

    columns: Mapping[str, Cells]
    files: Sequence[tuple[str, int]]
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return sum(count for _, count in self.files)

    def where(self, row: int) -> str:
        """Return file and number, from 0, of a row of the table."""
        for name, count in self.files:
            if row < count:
                return f"{name}, row {row}"
            row -= count
        raise IndexError(row)

    def column(self, name: str) -> Cells:
        """Return a column; a DataError says which there are."""
        if name not in self.columns:
            where = ", ".join(name for name, _ in self.files)
            raise DataError(f"{where} has no column {name!r}; it has {', '.join(map(printable, self.columns))}")
        return self.columns[name]


def read_table(paths: Sequence[Path], missing: Collection[str], ignored: Collection[str] = ()) -> Table:
    """Return the rows of files that have the same columns.

    Args:
        paths: Parquet, CSV, TSV or JSON Lines; none gives an empty table.
        missing: texts, without the space around them, that stand for nothing.
        ignored: columns that are not read.

    Raises:
        DataError: a file is damaged, has two columns of one name, other columns than the first, or one that is neither numbers nor
            texts.
    """
    parts, files = list[dict[str, Cells]](), list[tuple[str, int]]()
    for path in paths:
        parts.append(dict(_columns(path, missing, ignored)))
        files.append((printable(path.name), len(next(iter(parts[-1].values()), ()))))
        if parts[-1].keys() != parts[0].keys():
            differing = ", ".join(map(printable, sorted(parts[-1].keys() ^ parts[0].keys())))
            raise DataError(f"{files[-1][0]} and {files[0][0]} have not the same columns: {differing} is in one alone")
    columns = {name: _joined([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    return Table(columns, files, missing_shards(paths))


def one_row(text: str, missing: Collection[str]) -> Table:
    """Return a table of one row from a JSON object; a DataError where it is none."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f'{text[:60]!r} is no JSON object ({error}): write \'{{"age": 50, "sex": "f"}}\'') from None
    columns = {}
    for name, value in row.items() if isinstance(row, dict) else ():
        if isinstance(value, str):
            columns[name] = _texts([value], missing)
        elif value is None or isinstance(value, int | float):
            columns[name] = np.array([np.nan if value is None else value], dtype=np.float64)
        else:
            raise DataError(f"column {name!r} is a {type(value).__name__}: give a number, a text or null")
    return Table(columns, [("the row", 1)])


def numbers(cells: Cells) -> tuple[NDArray[np.float64], list[int]]:
    """Return a column as numbers, NaN where there is none, and the rows of which the texts are no finite numbers."""
    if cells.dtype != object:
        return np.where(np.isinf(cells), np.nan, cells), np.flatnonzero(np.isinf(cells)).tolist()
    values, bad = np.full(len(cells), np.nan), list[int]()
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        with suppress(ValueError):
            if isfinite(value := float(cell)):
                values[row] = value
        if np.isnan(values[row]):
            bad.append(row)
    return values, bad


def are_numbers(cells: Cells) -> bool:
    """Return whether a column is one of numbers: of its texts at least half are, so that others are slips."""
    if cells.dtype != object:
        return True
    there = sum(cell is not None for cell in cells)
    return not there or 2 * len(numbers(cells)[1]) <= there


def names(cells: Cells) -> Cells:
    """Return a column as texts, None where nothing stands; a whole number without a point."""
    if cells.dtype == object:
        return cells
    texts = [None if np.isnan(value) else f"{value:.0f}" if value == np.rint(value) else repr(float(value)) for value in cells]
    return np.array([*texts, None], dtype=object)[:-1]


def _columns(path: Path, missing: Collection[str], ignored: Collection[str]) -> Iterator[tuple[str, Cells]]:
    if is_parquet(path):
        with opened(path, ()) as (file, _):
            doubled = _doubled(path, file.schema_arrow.names)
            table = file.read(columns=[name for name in doubled if name not in ignored])
    else:
        table = parsed(path, dict.fromkeys(_header(path), "string"), extra="tabular")
    for name in _doubled(path, table.column_names):
        if name not in ignored:
            yield name, _cells(path, name, table.column(name), missing)


def _header(path: Path) -> Sequence[str]:
    """Return the names of the columns of a CSV file, which are all read as texts: what is a number is decided for all rows."""
    if not (separator := SEPARATORS.get(path.suffix.lower())):
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file, delimiter=separator), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{printable(str(path))} cannot be read as CSV ({error})") from None


def _doubled(path: Path, columns: Sequence[str]) -> Sequence[str]:
    """Return the names of columns; a DataError where two have the same."""
    if doubled := dict.fromkeys(name for name in columns if columns.count(name) > 1):
        raise DataError(f"{printable(str(path))} has several columns called {', '.join(doubled)}: rename all but one")
    return columns


def _cells(path: Path, name: str, column: "ChunkedArray", missing: Collection[str]) -> Cells:
    arrow = require("pyarrow", extra="tabular", purpose="reading tables")
    kind = column.type.value_type if arrow.types.is_dictionary(column.type) else column.type
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        return _texts(column.to_pylist(), missing)
    if arrow.types.is_null(kind):
        return np.full(len(column), np.nan)
    is_number = (arrow.types.is_integer, arrow.types.is_floating, arrow.types.is_decimal, arrow.types.is_boolean)
    if not any(holds(kind) for holds in is_number):
        what = f"{printable(str(path))}: column {name!r} is of type {kind}, neither numbers nor texts"
        raise DataError(f"{what}: leave it out, data.ignore = [{json.dumps(name)}]")
    if arrow.types.is_decimal(kind):
        column = column.cast(arrow.float64())
    return np.array([np.nan if value is None else float(value) for value in column.to_pylist()], dtype=np.float64)


def _texts(cells: Sequence[str | None], missing: Collection[str]) -> Cells:
    found = np.full(len(cells), None, dtype=object)
    for row, cell in enumerate(cells):
        if cell is not None and (text := cell.strip()) not in missing:
            found[row] = text
    return found


def _joined(parts: Sequence[Cells]) -> Cells:
    """Return a column of several files; numbers as texts where another file has texts."""
    if len({part.dtype == object for part in parts}) > 1:
        parts = [names(part) for part in parts]
    return np.concatenate(parts)
