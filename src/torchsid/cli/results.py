"""The results of runs, as a table to read and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
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
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    screen.rows([{name: _text(*cell) for name, cell in row.items() if name not in _FOR_THE_PAGE} for row in cells])
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
    rows = []
    for row in result.rows:
        runs = row.method.runs
        method = {"name": row.method.name, "seeds": [run.seed for run in runs], "runs": [run.path for run in runs]}
        rows.append({**vars(row), "method": method})
    return {"rows": rows, "notes": result.notes}


def write_json(path: Path, result: object) -> None:
    """Write a result for other programs: dataclasses by their fields; NaN and infinity, which JSON lacks, become null.

    Raises:
        RunError: the file cannot be written.
    """
    from torchsid.training.durable import write_text

    text = json.dumps(result, default=lambda value: str(value) if isinstance(value, Path) else asdict(value))
    write_text(path, json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2) + "\n")


def _text(value: str, detail: str) -> str:
    """Return a cell's number with each remark on a line of its own."""
    return "\n".join([value, *filter(None, detail.split(" · "))])


def _last_by_stage(row: "Row") -> list[str]:
    """Return the accuracy in per cent after each stage with the last weights, the mean over seeds."""
    splits = [run.last.held_out for run in row.method.runs if run.last is not None]
    accuracies = [split.accuracy[1:] for split in splits if split is not None]
    return [f"{100 * sum(stage) / len(stage):.1f}" for stage in zip(*accuracies, strict=True)]
