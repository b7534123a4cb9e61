"""The files that every experiment leaves: tidy rows, a summary, figures, the page."""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from torchsid.show.svg import Drawing, standalone
from torchsid.study.experiments.parquet import write_parquet
from torchsid.training.durable import write_text


def write_files(
    out: Path,
    *,
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    summary: Mapping[str, Any],
    figures: Mapping[str, Drawing],
    page: str,
) -> dict[str, Path]:
    """Write `results.parquet`, `results.json`, one SVG a figure and `report.html` into `out`, and return them by kind.

    Args:
        out: made if it is not there.
        rows: tidy, see `write_parquet`.
        columns: of the rows, with their types.
        summary: for JSON, which gets null for NaN and infinity.
        figures: by file name.
        page: HTML.

    Raises:
        RunError: the operating system refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {"rows": out / "results.parquet", "summary": out / "results.json", "report": out / "report.html"}
    write_parquet(rows, columns, files["rows"])
    write_text(files["summary"], json.dumps(_finite(summary), indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    for name, drawing in figures.items():
        write_text(out / f"{name}.svg", standalone(drawing))
    write_text(files["report"], page)
    return files


def _finite(value: object) -> object:
    """Return the value with null for NaN and infinity, which JSON lacks."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
