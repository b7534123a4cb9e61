"""The files of an experiment besides its rows: a summary in JSON, figures, the page."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.show.svg import standalone
from torchsid.study.experiments.analysis import Analysis
from torchsid.study.experiments.page import experiment_page, figures
from torchsid.study.files import write_file, write_json, write_page
from torchsid.study.frame import of_runs
from torchsid.study.metrics import METRICS
from torchsid.study.statistics import bootstrap_interval

_NEEDED = {"pyarrow": "files", "matplotlib": "report", "jinja2": "report", "scipy": "report"}


def check_packages() -> None:
    """Raise before hours of training what would stop their result from being written.

    Raises:
        RunError: packages are missing; names the extras that bring them.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        extras = ",".join(sorted({_NEEDED[package] for package in missing}))
        raise RunError(f"experiments need {', '.join(missing)}: pip install 'torchsid[{extras}]'")


def write(found: Analysis, out: Path) -> dict[str, Path]:
    """Write `results.json`, one SVG a figure and `report.html` into `out`, beside the rows, and return all of them by kind.

    Raises:
        RunError: the operating system refuses.
    """
    files = {"rows": out / "results.parquet", "summary": out / "results.json", "report": out / "report.html"}
    drawn = figures(found)
    write_json(files["summary"], as_json(found))
    for name, drawing in drawn.items():
        write_file(out / f"{name}.svg", standalone(drawing))
    write_page(files["report"], experiment_page(found, drawn))
    return files


def as_json(found: Analysis) -> dict[str, Any]:
    """Return question, tuning, means and differences, with all their digits."""
    first = next(iter(found.runs.values()), None)
    manifest, results = first.manifest if first else {}, found.results
    return {
        "command": results.command,
        "experiment": asdict(found.experiment),
        "no_data": {str(cell): reason for cell, reason in results.no_data.items()},
        "not_run": {str(cell): number for cell, number in results.not_run.items()},
        "diverged": {job.directory: reason for job, reason in results.diverged.items()},
        **{name: manifest.get(name) for name in ("versions", "hardware", "git")},
        "finished": max((str(run.manifest.get("finished")) for run in found.runs.values()), default=None),
        "data": {run.manifest["data"]["name"]: run.fingerprint for run in found.runs.values()},
        "tuning": [
            {**asdict(job.cell), "rate": job.rate, **{name: scores and scores.last(name) for name in ("accuracy", "kl")}}
            for job, scores in found.tried.items()
        ],
        "summary": [
            {**asdict(cell), "rate": results.rates[cell], "metrics": {name: _summary(found, cell, name) for name in found.metrics}}
            for cell in found.cells
        ],
        "differences": [asdict(each) for name in found.metrics for each in found.differences(name).values()],
        "units": {name: METRICS[name].title for name in found.metrics},
    }


def _summary(found: Analysis, cell: Any, name: str) -> dict[str, Any] | None:
    """Return a mean over the seeds with Student's interval, the bootstrap's beside it, and what it is made of."""
    row = found.mean(cell, name)
    if row is None:
        return None
    by_seed = of_runs(found.rows, name)[cell.contender, cell.point]
    bootstrap = bootstrap_interval(list(by_seed.values()))
    student = {"mean": row.value, "low": row.low, "high": row.high, "n": len(by_seed)}
    return {**student, "bootstrap_low": bootstrap.low, "bootstrap_high": bootstrap.high, "by_seed": by_seed}
