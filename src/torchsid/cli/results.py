"""The results of runs, as a table to read and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.cli.console import Console, abridged

if TYPE_CHECKING:
    from torchsid.show import Comparison, Row

_FOR_THE_PAGE = {"ECE", "Locality"}  # the report has room for them


def compare_runs(runs: Sequence[Path], screen: Console) -> "Comparison":
    """Return the comparison of the runs; without SciPy, which averages and differences need, one row a run."""
    from torchsid.show import Comparison, comparison

    try:
        return comparison(runs)
    except ImportError as error:
        screen.warning(f"no averages and differences ({error}): pip install 'torchsid[report]'")
        return Comparison(tuple(row for run in runs for row in comparison([run]).rows), ())


def print_results(screen: Console, result: "Comparison") -> None:
    """Print one row a method, runs that differ in their seed alone averaged; the same by stage; what limits the comparison."""
    from torchsid.show import summary_table

    columns, rows = summary_table(result)
    kept = [index for index, column in enumerate(columns) if column not in _FOR_THE_PAGE]
    screen.table([columns[index] for index in kept], [[_text(*cells[index]) for index in kept] for cells in rows])
    print()
    stages = {row.method.name: _last_by_stage(row) for row in result.rows}
    depth = max(map(len, stages.values()))
    screen.table(
        ["% by stage, last", *abridged([str(stage + 1) for stage in range(depth)])],
        [[name, *abridged([*accuracies, *[""] * (depth - len(accuracies))])] for name, accuracies in stages.items()],
    )
    for note in result.notes:
        print(note)


def as_json(result: "Comparison") -> dict[str, Any]:
    """Return the comparison with all its digits, runs named by their directories."""
    rows = [{key: _method(row) if key == "method" else _plain(value) for key, value in vars(row).items()} for row in result.rows]
    return {"rows": rows, "notes": list(result.notes)}


def write_json(path: Path, result: object) -> None:
    """Write a result for other programs; NaN and infinity, which JSON lacks, become null.

    Raises:
        RunError: the file cannot be written.
    """
    from torchsid.training.durable import write_text

    write_text(path, json.dumps(_finite(result), indent=2, allow_nan=False) + "\n")


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _method(row: "Row") -> dict[str, Any]:
    runs = row.method.runs
    return {"name": row.method.name, "seeds": [run.seed for run in runs], "runs": [str(run.path) for run in runs]}


def _text(value: str, detail: str) -> str:
    """Return a cell's number with each remark on a line of its own."""
    return "\n".join([value, *filter(None, detail.split(" · "))])


def _last_by_stage(row: "Row") -> list[str]:
    """Return the accuracy in per cent after each stage with the last weights, the mean over seeds."""
    splits = [run.last.held_out for run in row.method.runs if run.last is not None]
    accuracies = [split.accuracy[1:] for split in splits if split is not None]
    return [f"{100 * sum(stage) / len(stage):.1f}" for stage in zip(*accuracies, strict=True)]
