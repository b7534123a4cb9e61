"""Texts and the names of their classes from the rows of Parquet, CSV and JSON Lines files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.errors import DataError, printable
from torchsid.tasks.columns import chosen_columns, class_names, missing_shards, read_columns
from torchsid.tasks.domain import PARTS
from torchsid.tasks.packages import require
from torchsid.tasks.parts import NAMES_OF

if TYPE_CHECKING:
    from pyarrow import Table

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_KINDS = (".parquet", *_SEPARATORS, ".jsonl", ".json")
_BLOCK = 2**24  # bytes of a file that are parsed at once, which the longest row must fit in


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


def files_of(path: Path, name: str) -> Mapping[str, list[Path]]:
    """Return the files of each part: one file is the training part; in a folder, or its `data/`, they are called after the parts.

    Args:
        path: the file or the folder.
        name: in front of the parts' names, `NAME-train.parquet`; files without it are taken where there are none with it.

    Raises:
        DataError: there is no file for training.
    """
    if path.is_file():
        return {"train": [path], "validation": [], "test": []}
    there = sorted(file for folder in (path, path / "data") if folder.is_dir() for file in folder.iterdir())

    def called(stem: str) -> list[Path]:
        shard = re.compile(rf"{re.escape(stem)}(-\d+(-of-\d+)?)?({'|'.join(map(re.escape, _KINDS))})")
        return [file for file in there if shard.fullmatch(file.name)]

    def first(part: str) -> list[Path]:
        stems = [f"{front}{word}" for front in dict.fromkeys([name and f"{name}-", ""]) for word in NAMES_OF[part]]
        return next(filter(None, map(called, stems)), [])

    found = {part: first(part) for part in PARTS}
    if not found["train"]:
        wanted = f"{name}-train or train" if name else "train"
        raise DataError(f"{printable(str(path))} (data.path) is no file, nor a folder with {wanted} ({', '.join(_KINDS)})")
    return found


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
        table = _table(path, (text, label))
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


def _table(path: Path, one_of: Sequence[Sequence[str]]) -> "Table":
    """Return the column of texts and that of labels."""
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise DataError(f"{printable(str(path))} is none of {', '.join(_KINDS)}")
    try:
        if kind == ".parquet":
            return read_columns(path, one_of=one_of)
        arrow = require("pyarrow", extra="text", purpose="reading texts")
        try:
            table = _parsed(path, one_of[0])
            columns = table.column_names  # decoded here
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            form = "CSV" if kind in _SEPARATORS else "JSON Lines"
            raise DataError(f"{printable(str(path))} cannot be read as {form} ({error})") from None
        return table.select(chosen_columns(path, columns, one_of))
    except DataError as error:
        advice = ": set data.text and data.label" if "has no column" in str(error) else ""
        raise DataError(f"{error}{advice}") from None


def _parsed(path: Path, texts: Sequence[str]) -> "Table":
    arrow = require("pyarrow", extra="text", purpose="reading texts")
    if not (separator := _SEPARATORS.get(path.suffix.lower())):
        json = require("pyarrow.json", extra="text", purpose="reading JSON Lines")
        return json.read_json(path, read_options=json.ReadOptions(block_size=_BLOCK))
    csv = require("pyarrow.csv", extra="text", purpose="reading CSV files")
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK),
        parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(texts, arrow.binary())),  # UTF-8 is looked at row by row
    )


def _bytes_for_text(table: "Table") -> Any:
    """Return the schema of a table with bytes in place of texts, which may be no UTF-8."""
    arrow = require("pyarrow", extra="text", purpose="reading texts")
    is_text = (arrow.string(), arrow.large_string())
    return arrow.schema([(field.name, arrow.large_binary() if field.type in is_text else field.type) for field in table.schema])
