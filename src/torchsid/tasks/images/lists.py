"""Files that say which images are meant, and of which class and part."""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from torchsid.errors import DataError, bullets, printable
from torchsid.tasks.images.scan import Scan, listing
from torchsid.tasks.parts import NAMES_OF, PART_OF, part_of

_COLUMNS = ("path", "label", "split")


def listed(scan: Scan, file: str, read_elsewhere: Sequence[str] = ()) -> tuple[list[str], dict[str, dict[str, str]], bool]:
    """Return the images that a file names.

    It is a CSV file with the column `path`, and maybe `label` and `split`, or a list of paths, each with or without a label behind
    it; beside `train.txt` the lists `val.txt` and `test.txt` are read. Paths are below the folder. Without a label the class is
    the folder's, as it is without a list. Columns that are `read_elsewhere` are no surprise.

    Returns:
        The names of the files that were read, the class of each image by part and name, and whether no part was named.

    Raises:
        DataError: a file cannot be read, or lines of it cannot be used; names the first.
    """
    root, problems, bare = Path(scan.root), [], True
    files = [root / file]
    is_table = files[0].suffix.lower() in (".csv", ".tsv")
    if not is_table and part_of(files[0].stem) == "train":
        siblings = (files[0].with_stem(name) for part in ("validation", "test") for name in NAMES_OF[part])
        files += [path for path in siblings if path.is_file()]
    parts: dict[str, dict[str, str]] = {part: {} for part in NAMES_OF}
    for source in files:
        own, lines = ("", _table(source, scan, read_elsewhere)) if is_table else (part_of(source.stem), _lines(source, scan))
        for number, (name, label, split) in enumerate(lines, 2 if is_table else 1):
            path, part = _below(scan, name), part_of(split) if split else own
            if not label:
                above = [folder for folder in path.split("/")[:-1] if not part_of(folder)]
                label = next(iter(above[::-1] if ".." in above else above), "")
            bare &= not part
            if not name or not label or (split and not part):
                what = "no path" if not name else "no label" if not label else f"split {split!r}; allowed are {', '.join(PART_OF)}"
                problems.append(f"{source.name}, line {number}: {what}")
            elif any(path in images for images in parts.values()):
                problems.append(f"{source.name}, line {number}: {name} a second time")
            parts[part or "train"][path] = label
    if problems:
        shown = bullets(map(printable, problems))
        raise DataError(f"{len(problems)} lines of data.files = {file!r} cannot be used:{shown}")
    if not parts["test"]:
        parts["test"] = parts.pop("validation")
    read = [os.path.relpath(path, root) for path in files]
    return read, {part: images for part, images in parts.items() if images}, bare


def _below(scan: Scan, name: str) -> str:
    """Return the name below the folder of a file in a list, however it is spelt; another system may have written the slashes."""
    if "\\" in name and not _is_there(scan, name):
        name = name.replace("\\", "/")
    return os.path.relpath(scan.path(name), scan.root) if name.startswith("/") or ".." in name else os.path.normpath(name)


def _is_there(scan: Scan, name: str) -> bool:
    return os.path.isfile(scan.path(name))  # noqa: PTH113 - a `Path` raises where the name is too long


def _table(path: Path, scan: Scan, read_elsewhere: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield path, label and split of every line of a CSV file; what is not there is empty."""
    columns, rows = rows_of(path)
    if others := [column for column in columns if column not in (*_COLUMNS, *read_elsewhere)]:
        scan.remarks.append(
            f"columns of {path.name} that are not {', '.join(_COLUMNS)}: {len(others)} not read ({listing(others)})"
        )
    for row in rows:
        path_, label, split = (row.get(column, "") for column in _COLUMNS)
        yield path_, label, split


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a CSV file that has one called `path`, and its rows; what is not there is empty.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    text = _text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
        columns = rows.fieldnames = [column.strip().lower() for column in rows.fieldnames or ()]
        if "path" not in columns:
            raise DataError(f"{path} has no column 'path'; it has {', '.join(columns) or 'nothing'}")
        return columns, [{column: (row.get(column) or "").strip() for column in columns} for row in rows]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file ({error})") from None


def _lines(path: Path, scan: Scan) -> Iterator[tuple[str, str, str]]:
    """Yield path and label of every line of a list; a name may have spaces and commas, and so may have what is behind it."""
    for line in filter(None, map(str.strip, _text(path).split("\n"))):
        gaps = [gap.span() for gap in re.finditer(r"\s*[\s,;]\s*", line)]
        ways = [(line, ""), *((line[:start], line[end:]) for start, end in reversed(gaps))]
        name, label = next((way for way in ways if _is_there(scan, _below(scan, way[0]))), ways[:2][-1])
        yield name, label, ""


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{printable(str(path))} (data.files) cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise DataError(f"{printable(str(path))} (data.files) is no text in UTF-8: save it as UTF-8")
    return text
