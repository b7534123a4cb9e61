"""The files of an experiment: tidy rows in Parquet, a summary in JSON, figures, the page."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.study.experiments.analysis import BySeed, Contrast, Summary, contrasts, metrics_of, summaries
from torchsid.study.experiments.experiment import slug
from torchsid.study.experiments.figures import figures
from torchsid.study.experiments.files import write_files
from torchsid.study.experiments.findings import notes, verdict
from torchsid.study.experiments.metrics import METRICS
from torchsid.study.experiments.page import render
from torchsid.study.experiments.result import Result
from torchsid.study.experiments.results import COLUMNS
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


def write(result: Result, out: Path) -> dict[str, Path]:
    """Write `results.parquet`, `results.json`, one SVG a figure and `report.html` into `out`, and return them by kind.

    Raises:
        RunError: the operating system refuses.
    """
    drawn = figures(result)
    return write_files(
        out,
        rows=result.rows,
        columns=COLUMNS,
        summary=as_json(result),
        figures={slug(name): drawing for name, drawing in drawn.items()},
        page=render(result, drawn),
    )


def as_json(result: Result) -> dict[str, Any]:
    """Return question, sizes, tuning, summaries and contrasts, with all their digits."""
    first = next(iter(result.runs.values()), None)
    manifest = first.manifest if first else {}
    return {
        "command": result.command,
        "experiment": asdict(result.experiment),
        "ran": {**asdict(result.grid), "missing": result.missing, "dropped": result.dropped},
        "verdict": verdict(result),
        "notes": notes(result),
        "versions": manifest.get("versions"),
        "hardware": manifest.get("hardware"),
        "git": manifest.get("git"),
        "finished": max((str(run.manifest.get("finished")) for run in result.runs.values()), default=None),
        "data": {run.manifest["data"]["name"]: run.fingerprint for run in result.runs.values()},
        "tuning": [{**asdict(t.job.cell), "rate": t.job.rate, "validation": t.validation, "kl": t.kl} for t in result.trials],
        "summary": [_summary(each, metrics_of(result)) for each in summaries(result).values()],
        "contrasts": [_contrast(each) for metric in metrics_of(result) for each in contrasts(result, metric)],
        "units": {name: METRICS[name].unit for name in metrics_of(result)},
    }


def _summary(summary: Summary, metrics: tuple[str, ...]) -> dict[str, Any]:
    intervals = {name: summary.interval(name) for name in metrics}
    return {
        **asdict(summary.cell),
        "rate": summary.rate,
        "diverged": summary.diverged,
        "metrics": {
            name: {**asdict(interval), **_bootstrap(summary.by_seed[name]), "by_seed": dict(summary.by_seed[name])}
            for name, interval in intervals.items()
            if interval
        },
    }


def _contrast(contrast: Contrast) -> dict[str, Any]:
    found = asdict(contrast)
    head = {**found.pop("cell"), "metric": found.pop("metric"), "reference": found.pop("reference"), **found.pop("paired")}
    return {**head, **_bootstrap(contrast.by_seed), **found}


def _bootstrap(by_seed: BySeed) -> dict[str, float | None]:
    """Return the percentile bootstrap interval over seeds, to stand beside Student's."""
    interval = bootstrap_interval(list(by_seed.values()))
    return {"bootstrap_low": interval.low, "bootstrap_high": interval.high}
