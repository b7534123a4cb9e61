"""Texts and the names of their classes from the rows of Parquet, CSV and JSON Lines files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.errors import DataError, bullets, printable
from torchsid.packages import require
from torchsid.tasks.columns import chosen_columns, class_names, missing_shards, read_columns
from torchsid.tasks.tables import is_parquet, parsed

if TYPE_CHECKING:
    from pyarrow import Table


@dataclass(frozen=True)
class Row:
    """A row, good or bad.

    Attributes:
        place: its number among those of all files of its part, from 0.
        where: file, and its number there.
        text: what is to be classified.
        label: the name of its class.
        problem: what is wrong with it; "" where nothing is.
    """

    place: int
    where: str
    text: str = ""
    label: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of a part.

    Attributes:
        rows: of all its files.
        class_names: as the files say them, or none.
        notes: a sentence for each missing shard.
    """

    rows: Sequence[Row]
    class_names: tuple[str, ...]
    notes: Sequence[str]


def read(files: Sequence[Path], text: Sequence[str], label: Sequence[str]) -> Rows:
    """Return the rows of the files of a part.

    Args:
        files: of one part; there may be none.
        text: names of the column of texts, of which the first that is there is taken.
        label: likewise of the labels: names of classes, or their numbers.

    Raises:
        DataError: a file cannot be read, or lacks a column; or files name their classes differently.
    """
    rows, named = list[Row](), dict[tuple[str, ...], str]()
    for path in files:
        table = _table(path, (text, label), "set data.text and data.label")
        names = class_names(table.schema.metadata, table.column_names[1])
        named.setdefault(names, path.name)
        texts, labels = (column.to_pylist() for column in table.cast(_bytes_for_text(table)).columns)
        for i, (own, given) in enumerate(zip(texts, labels, strict=True)):
            row = Row(len(rows), f"{printable(path.name)}, row {i}")
            try:
                rows.append(replace(row, text=_text(own), label=_label(given, names)))
            except ValueError as error:
                rows.append(replace(row, problem=str(error)))
    if len(named) > 1:
        raise DataError(f"the class names of {' and '.join(named.values())} differ")
    return Rows(rows, next(iter(named), ()), missing_shards(files))


def read_texts(path: Path, text: Sequence[str]) -> list[str]:
    """Return the texts of a file without labels; a DataError where it cannot be read, or with what is wrong with its rows."""
    texts, problems = list[str](), list[str]()
    table = _table(path, (text,), "the network was trained with texts from a column of that name, call it so")
    for i, value in enumerate(table.cast(_bytes_for_text(table)).column(0).to_pylist()):
        try:
            texts.append(_text(value))
        except ValueError as error:
            problems.append(f"row {i}: {error}")
    if problems or not texts:
        raise DataError(f"{printable(str(path))} cannot be used:{bullets(problems or ['there are no rows'])}")
    return texts


def _text(value: Any) -> str:
    """Return a text; a ValueError says what is wrong with it."""
    text = _decoded(value)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"its text is of type {type(text).__name__}")
    if not text or text.isspace():
        raise ValueError("its text is empty")
    return text


def _label(value: Any, names: Sequence[str]) -> str:
    """Return the name of a class; a ValueError says what is wrong with it."""
    label = _decoded(value)
    if label is None or label == "":
        raise ValueError("it has no label")
    if not isinstance(label, int | str):
        raise ValueError(f"its label is of type {type(label).__name__}, neither number nor name of a class")
    if not names or isinstance(label, str):
        return printable(str(label))
    if not 0 <= label < len(names):
        raise ValueError(f"its label {label} is none of 0 to {len(names) - 1}")
    return names[label]


def _decoded(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 (byte {value[error.start]:#04x})") from None


def _table(path: Path, one_of: Sequence[Sequence[str]], advice: str) -> "Table":
    """Return the column of texts and that of labels, if one is asked for."""
    try:
        if is_parquet(path):
            return read_columns(path, one_of=one_of)
        table = parsed(path, dict.fromkeys(one_of[0], "binary"), extra="text")  # UTF-8 is looked at row by row
        return table.select(chosen_columns(path, table.column_names, one_of))
    except DataError as error:
        way_out = f": {advice}" if "has no column" in str(error) else ""
        raise DataError(f"{error}{way_out}") from None


def _bytes_for_text(table: "Table") -> Any:
    """Return the schema of a table with bytes in place of texts, which may be no UTF-8."""
    arrow = require("pyarrow", extra="text", purpose="reading texts")
    is_text = (arrow.string(), arrow.large_string())
    return arrow.schema([(field.name, arrow.large_binary() if field.type in is_text else field.type) for field in table.schema])
