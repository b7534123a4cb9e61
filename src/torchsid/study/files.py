"""What is found, written whole or not at all: JSON and Parquet for other programs, pages and figures for people.

Where the operating system refuses, all raise RunError.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.durable import os_errors, replace_file
from torchsid.errors import RunError, printable

if TYPE_CHECKING:
    from torchsid.show.page import Page
    from torchsid.show.svg import Drawing


TABLES = (".csv", ".jsonl", ".parquet")
"""Endings of the tables that can be written."""


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; its directory is made."""
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON: dataclasses by their fields; NaN and infinity, which JSON lacks, become null."""
    text = json.dumps(value, default=lambda each: str(each) if isinstance(each, Path) else asdict(each))
    write_file(path, json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows with these columns as the file's ending says, one of `TABLES`; what a row lacks is empty, or null.

    In CSV, what a spreadsheet would take for a formula, such as a file called `=1+1.png`, is marked as text by an apostrophe.
    """
    whole = [{name: row.get(name) for name in columns} for row in rows]
    if path.suffix == ".parquet":
        import pyarrow as pa

        write_arrow(path, pa.Table.from_pylist(whole) if whole else pa.table({name: [] for name in columns}))
        return
    text = io.StringIO()
    if path.suffix == ".jsonl":
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in whole)
        write_file(path, text.getvalue())
        return
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in whole:
        writer.writerow(
            {key: f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value for key, value in row.items()}
        )
    write_file(path, text.getvalue())


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows with these columns, by name and Arrow's type (`string`, `int64`, `float64`); what a row lacks is null."""
    import pyarrow as pa

    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])
    write_arrow(path, pa.Table.from_pylist(list(rows), schema=schema))


def write_arrow(path: Path, table: Any) -> None:
    """Write a table of Arrow as Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = pa.BufferOutputStream()
    parquet.write_table(table, buffer)
    write_file(path, buffer.getvalue().to_pybytes())


def write_results(
    out: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    summary: object,
    drawings: "Mapping[str, Drawing]",
    page: "Page",
) -> dict[str, Path]:
    """Write `results.parquet`, `results.json`, one SVG a figure and `report.html` into `out`, and return them by kind."""
    files = {"rows": out / "results.parquet", "summary": out / "results.json", "report": out / "report.html"}
    write_parquet(files["rows"], rows, columns)
    write_json(files["summary"], summary)
    write_figures(out, drawings)
    write_page(files["report"], page)
    return files


def write_figures(folder: Path, drawings: "Mapping[str, Drawing]") -> None:
    """Write every drawing to an SVG file of its name."""
    from torchsid.show.svg import standalone

    for name, drawing in drawings.items():
        write_file(folder / f"{name}.svg", standalone(drawing))


def write_page(path: Path, page: "Page") -> None:
    """Write a page; a RunError where the path is a directory, a MissingPackageError without the extra `report`."""
    if path.is_dir():
        raise RunError(f"{path} is a directory; name the file to write, for example {path / 'report.html'}")
    write_file(path, "\n".join(map(printable, page.html().split("\n"))))  # a label may hold what no page can
