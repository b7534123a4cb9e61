"""Files of rows: which belong to a data set, and how CSV, TSV and JSON Lines are parsed."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchsid.errors import DataError, bullets, printable
from torchsid.packages import require
from torchsid.tasks.domain import PARTS
from torchsid.tasks.parts import NAMES_OF

if TYPE_CHECKING:
    from pyarrow import Table

SEPARATORS = {".csv": ",", ".tsv": "\t"}
KINDS = (".parquet", *SEPARATORS, ".jsonl", ".json")
"""How the names of such files end."""
_BLOCK = 2**24  # bytes of a file that are parsed at once, which the longest row must fit in
_NAMED = 10  # rows in a message


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
        shard = re.compile(rf"{re.escape(stem)}(-\d+(-of-\d+)?)?({'|'.join(map(re.escape, KINDS))})")
        return [file for file in there if shard.fullmatch(file.name)]

    def first(part: str) -> list[Path]:
        stems = [f"{front}{word}" for front in dict.fromkeys([name and f"{name}-", ""]) for word in NAMES_OF[part]]
        return next(filter(None, map(called, stems)), [])

    found = {part: first(part) for part in PARTS}
    if not found["train"]:
        wanted = f"{name}-train or train" if name else "train"
        raise DataError(f"{printable(str(path))} (data.path) is no file, nor a folder with {wanted} ({', '.join(KINDS)})")
    return found


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet by its name; a DataError where it is nothing that can be read."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{printable(str(path))} is none of {', '.join(KINDS)}")
    return kind == ".parquet"


def parsed(path: Path, types: Mapping[str, Literal["binary", "string"]], *, extra: str) -> "Table":
    """Return a CSV, TSV or JSON Lines file; of some columns of a CSV file the type is given, others have what they look like.

    Raises:
        DataError: it is damaged, or pyarrow is missing, which an extra of torchsid brings.
    """
    arrow = require("pyarrow", extra=extra, purpose="reading tables")
    separator = SEPARATORS.get(path.suffix.lower())
    try:
        if not separator:
            json = require("pyarrow.json", extra=extra, purpose="reading JSON Lines")
            table = json.read_json(path, read_options=json.ReadOptions(block_size=_BLOCK))
        else:
            csv = require("pyarrow.csv", extra=extra, purpose="reading CSV files")
            own = {name: getattr(arrow, kind)() for name, kind in types.items()}
            table = csv.read_csv(
                path,
                read_options=csv.ReadOptions(block_size=_BLOCK),
                parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                convert_options=csv.ConvertOptions(column_types=own),
            )
        assert table.column_names is not None  # decoded here
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        form = "CSV" if separator else "JSON Lines"
        raise DataError(f"{printable(str(path))} cannot be read as {form} ({error})") from None
    return table


def left_out(problems: Sequence[str], on_bad_sample: Literal["error", "skip"]) -> list[str]:
    """Return a sentence for each of the first bad rows, and one for the others; or stop at them.

    Raises:
        DataError: there are bad rows, and they are not to be skipped.
    """
    if problems and on_bad_sample == "error":
        advice = "correct the rows, or set data.on_bad_sample = 'skip' to leave them out"
        raise DataError(f"{len(problems)} row{'s' * (len(problems) > 1)} cannot be used; {advice}:{bullets(problems)}")
    return [*problems[:_NAMED], *([f"and {len(problems) - _NAMED} more rows"] if len(problems) > _NAMED else [])]


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return class names in the order of the numbers that they are, or of the alphabet."""
    try:
        return tuple(sorted(names, key=int))
    except ValueError:
        return tuple(sorted(names))
