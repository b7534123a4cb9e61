"""One self-contained HTML page from one run or several: no script, nothing loaded from anywhere."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchsid.__about__ import __version__
from torchsid.errors import RunError
from torchsid.show import provenance, sections
from torchsid.show.compare import Comparison, comparison
from torchsid.show.cuts import cuts
from torchsid.show.record import RunRecord
from torchsid.show.wording import headline, listing, percent, summary_table

if TYPE_CHECKING:
    from jinja2 import Environment


def render(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the report of the run directories `runs` to the file `out`, and return its path.

    The page is written whole or not at all: an existing report stays until the new one is complete.

    Raises:
        RunError: No runs are given, one cannot be read, `out` is a directory, or a package of the extra
            `torchsid[report]` is missing.
    """
    out = Path(out)
    if out.is_dir():
        raise RunError(f"{out} is a directory; name the file to write, for example {out / 'report.html'}")
    page = environment("report").get_template("page.html.j2").render(_context(comparison(runs)))
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return out


def environment(page: str, *packages: str) -> "Environment":
    """Return what fills the templates of the packages, the first that has one, and then of the report; `page` is for the message.

    Raises:
        RunError: Jinja is missing.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise RunError(f"the {page} needs Jinja; install it with pip install 'torchsid[report]'") from None
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, __package__)]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = percent
    return made


def _context(result: Comparison) -> dict[str, Any]:
    runs = provenance.ordered_runs(result)
    names = [method.name for method in result.methods]
    return {
        "version": __version__,
        "title": f"{_data_names(runs)}: {' · '.join(names)}",
        "subtitle": _subtitle(runs),
        "headline": headline(result),
        "table": summary_table(result),
        "notes": result.notes,
        "warnings": [(run.name, message) for run in runs for message in dict.fromkeys(run.warnings)],
        "methods": names,
        "curves": sections.learning_curves(result),
        "stages": sections.by_stage(result),
        "minds": sections.minds(result),
        "confusions": sections.confusions(result),
        "calibration": sections.calibrated(result),
        "tradeoffs": sections.tradeoffs(result),
        "costs": sections.costs(result),
        "conflicts": sections.conflicts(result),
        "locality": sections.locality(result),
        "noise": sections.label_noise(result),
        "runs": runs,
        "cuts": cuts(result),
        "facts": provenance.facts(runs),
    }


def _data_names(runs: Sequence[RunRecord]) -> str:
    return listing(list(dict.fromkeys(str(run.manifest["data"]["name"]) for run in runs)))


def _subtitle(runs: Sequence[RunRecord]) -> str:
    data = runs[0].manifest["data"]
    sizes = [f"{data[split]:,} {name}" for split, name in _SPLITS if data.get(split)]
    parts = [
        f"Recipe {listing(list(dict.fromkeys(str(run.manifest['recipe']) for run in runs)))}",
        f"{listing(sizes)} images" if sizes else "",
        f"{len(runs[0].class_names)} classes",
        f"{len(runs)} runs" if len(runs) > 1 else f"seed {runs[0].seed}",
        f"finished {str(runs[0].manifest['finished'])[:10]}" if runs[0].manifest.get("finished") else "",
    ]
    return " · ".join(filter(None, parts))


_SPLITS = (("train", "training"), ("validation", "validation"), ("test", "test"))
