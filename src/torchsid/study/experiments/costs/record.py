"""The files of an experiment on costs: tidy rows in Parquet, all in JSON, figures, the page."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchsid.__about__ import __version__
from torchsid.show.page import environment
from torchsid.show.provenance import origin
from torchsid.show.wording import counted, listing
from torchsid.study.experiments.costs import memory_findings, timing_findings
from torchsid.study.experiments.costs.result import Result, TimingRow
from torchsid.study.experiments.costs.sections import Section, sections
from torchsid.study.experiments.files import write_files

_SPREAD = ("median", "low", "high")
_ROWS = {
    **dict.fromkeys(("network", "kind", "model", "axis", "contender", "quantity", "of"), "string"),
    **dict.fromkeys(("stages", "batch_size", "rounds", "value"), "int64"),
    **dict.fromkeys((*_SPREAD, "kept_bytes", "over_backprop"), "float64"),
}


def verdict(result: Result) -> list[str]:
    """Return what was found, in sentences, the most important one first."""
    return timing_findings.verdict(result.timing) if result.timing else memory_findings.verdict(result.memory)


def notes(result: Result) -> list[str]:
    """Return what limits the experiment: what was left out, and what the numbers are."""
    left = [f"The budget of time left out {listing(result.dropped)}."] if result.dropped else []
    return [*left, *(timing_findings.NOTES if result.timing else memory_findings.NOTES)]


def write(result: Result, out: Path) -> dict[str, Path]:
    """Write `results.parquet`, `results.json`, one SVG a figure and `report.html` into `out`, and return them by kind.

    Raises:
        RunError: packages are missing, or the operating system refuses.
    """
    shown = sections(result)
    figures = {name: drawing for section in shown for name, drawing in section.figures.items()}
    return write_files(out, rows=tidy(result), columns=_ROWS, summary=as_json(result), figures=figures, page=_page(result, shown))


def as_json(result: Result) -> dict[str, Any]:
    """Return question, verdict and rows, with all their digits."""
    experiment = result.experiment
    return {
        "command": result.command,
        "experiment": {**asdict(experiment), "size": experiment.size},
        "ran": {"dropped": result.dropped},
        "verdict": verdict(result),
        "notes": notes(result),
        **{key: result.provenance[key] for key in ("versions", "hardware", "git")},
        "finished": result.finished,
        "rows": [*map(asdict, result.timing), *map(asdict, result.memory)],
    }


def tidy(result: Result) -> Iterator[dict[str, Any]]:
    """Yield one row for every number: of `timing` a quantity with its quartiles, of `memory` kept bytes."""
    for timed in result.timing:
        about = {key: getattr(timed, key) for key in ("network", "kind", "model", "stages", "batch_size", "contender", "rounds")}
        for quantity, of, spread in _quantities(timed):
            yield {**about, "quantity": quantity, "of": of, **dict(zip(_SPREAD, spread, strict=True))}
    for kept in result.memory:
        yield {**asdict(kept), "quantity": "kept bytes"}


def _quantities(row: TimingRow) -> Iterator[tuple[str, str | None, tuple[float, float, float]]]:
    yield "seconds", None, row.seconds
    yield from (("over", base, spread) for base, spread in row.over.items())
    yield from (("share", part, spread) for part, spread in row.parts.items())
    if row.serial and row.bounds:
        yield "serial share", None, row.serial
        yield from (("bound", f"{n} workers", spread) for n, spread in row.bounds.items())


def _page(result: Result, shown: list[Section]) -> str:
    experiment, sentences = result.experiment, verdict(result)
    return (
        environment("page", "torchsid.study.experiments")
        .get_template("costs.html.j2")
        .render(
            version=__version__,
            title=experiment.question,
            subtitle=f"Experiment {experiment.name} · {counted(experiment.threads, 'thread')} · random images · no training",
            claim=experiment.claim,
            headline=sentences[0],
            sentences=sentences[1:],
            notes=notes(result),
            sections=shown,
            command=result.command or f"torchsid experiment {experiment.name}",
            facts={"Finished": result.finished, **origin(result.provenance)},
        )
    )
