"""Experiments and results made by hand, for what needs no training."""

from pathlib import Path

import numpy as np

from torchsid.study.experiments.analysis import Analysis
from torchsid.study.experiments.experiment import Axis, Contender, Experiment
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.results import Results
from torchsid.study.frame import rows_of
from torchsid.study.runs import RunRecord, Scores

AXIS = Axis(name="stages L", setting="model.depth", values=[2, 4, 8, 16, 32], reference="4", log=True)


def experiment(**changes: object) -> Experiment:
    """Two contenders along an axis, a third beside it; three rates and five seeds."""
    table: dict[str, object] = {
        "name": "depth",
        "question": "How deep?",
        "recipe": "digits",
        "rates": [0.001, 0.002, 0.004],
        "seeds": [0, 1, 2, 3, 4],
        "contenders": {
            "SID": Contender(),
            "BP": Contender(settings={"learner.name": "backprop"}),
            "flat": Contender(settings={"model.depth": 1}),
        },
        "axis": AXIS,
    }
    return Experiment(**{**table, **changes})  # type: ignore[arg-type]


def record(seed: int, accuracy: float, *, best: float | None = None, kl: tuple[float, ...] = (2.3, 0.5, 0.4)) -> RunRecord:
    """A run of two stages with such an accuracy of the last stage, in [0, 1]."""
    manifest = {
        "torchsid": "0",
        "status": "finished",
        "label": "SID",
        "recipe": "digits",
        "seed": seed,
        "versions": {"torch": "2"},
        "hardware": {"cpu": "a processor", "cores": 2},
        "git": None,
        "finished": "2026-01-01T00:00:00+00:00",
        "train_seconds": 3.0,
        "kept_bytes": 2**20,
        "data": {"name": "digits", "train": 9, "validation": 1, "test": 4, "fingerprint": {"a": "ff"}},
    }
    epochs = ({"epoch": 1, "validation": {"accuracy": [0.1, 0.4]}}, {"epoch": 2, "validation": {"accuracy": [0.1, 0.8]}})
    reached = {"best": accuracy if best is None else best, "last": accuracy}
    scores = {(which, split): _scores(split, value, kl) for which, value in reached.items() for split in ("validation", "test")}
    return RunRecord(Path("run"), "", {}, manifest, epochs, (), scores)


def _scores(split: str, accuracy: float, kl: tuple[float, ...]) -> Scores:
    accuracies, errors = (0.1,) * (len(kl) - 1) + (accuracy,), (0.0,) * (len(kl) - 1) + (0.05,)
    by_stage = {"accuracy": accuracies, "kl": kl, "ece": errors}
    return Scores(split, 2, 100, by_stage, {}, np.eye(2, dtype=np.int64), {}, None)


def analysis(scores: dict[tuple[str, str], list[float]], *, of: Experiment | None = None, **results: object) -> Analysis:
    """What came of these accuracies in per cent by contender and point, seeds counted from 0, all at the second rate."""
    about = of or experiment()
    rate = about.rates[1]
    reached = {Cell(*cell): own for cell, own in scores.items()}
    runs = {Job(cell, rate, seed): record(seed, value / 100) for cell, own in reached.items() for seed, value in enumerate(own)}
    tried = {
        Job(cell, each, 0): _scores("validation", 0.9 if each == rate else 0.8, (2.3, 0.4))
        for cell in reached
        for each in about.rates
    }
    known: dict[str, object] = {"runs": {}, "diverged": {}, "no_data": {}, "not_run": {}}
    known |= {"experiment": about, "rates": dict.fromkeys(reached, rate), "command": "torchsid experiment depth", **results}
    return Analysis(
        results=Results(**known),  # type: ignore[arg-type]
        cells=list(reached),
        runs=runs,
        tried=tried,
        rows=[row for job, run in runs.items() for row in rows_of(run, job.cell.contender, job.cell.point)],
    )
