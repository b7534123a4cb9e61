"""The decision how much of an experiment to run, remembered beside its runs: resuming must not decide again."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchsid.study.experiments.grid import Cell, Grid
from torchsid.study.experiments.plan import Experiment
from torchsid.study.experiments.sizing import Sized, estimate, fit
from torchsid.training.durable import write_text

FILE = "sizing.json"


def decide(experiment: Experiment, out: Path, measure: Callable[[], dict[Cell, float]], *, minutes: float, workers: int) -> Sized:
    """Return what of the experiment fits the budget; the same as before where the same was asked before.

    Args:
        experiment: to be sized.
        out: its folder, which remembers the decision.
        measure: runs the probes and returns the seconds of each.
        minutes: the budget.
        workers: runs at a time.

    Raises:
        RunError: the decision cannot be written.
    """
    asked: dict[str, Any] = {"minutes": minutes, "workers": workers, "experiment": asdict(experiment)}
    path = out / FILE
    if remembered := _remembered(path, asked):
        return remembered
    sized = fit(experiment, estimate(experiment, measure()), 60 * minutes, workers)
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"asked": asked, "sized": asdict(sized)}, indent=2) + "\n")
    return sized


def _remembered(path: Path, asked: dict[str, Any]) -> Sized | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        sized = found["sized"]
        grid = Grid(tuple(sized["grid"]["values"]), tuple(sized["grid"]["seeds"]))
        return Sized(grid, sized["seconds"], tuple(sized["dropped"])) if found["asked"] == asked else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
