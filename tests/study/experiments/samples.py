"""Experiments and results made by hand, for what needs no training."""

from pathlib import Path

import numpy as np
from tests.study.fake import Fake, manifest

from torchsid.study.experiments.experiment import Axis, ContenderConfig, Experiment
from torchsid.study.experiments.grid import Job
from torchsid.study.experiments.runner import Results
from torchsid.study.frame import Case
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
            "SID": ContenderConfig(),
            "BP": ContenderConfig(settings={"learner.name": "backprop"}),
            "flat": ContenderConfig(settings={"model.depth": 1}),
        },
        "axis": AXIS,
    }
    return Experiment(**{**table, **changes})  # type: ignore[arg-type]


def record(seed: int, accuracy: float) -> RunRecord:
    """A run of two stages with such an accuracy of the last stage, in [0, 1]."""
    by_stage = {"accuracy": (0.1, 0.1, accuracy), "kl": (2.3, 0.5, 0.4), "ece": (0.0, 0.0, 0.05)}
    scores = {
        (which, split): Scores(split, 100, by_stage, {}, np.eye(2, dtype=np.int64), {}, None)
        for which in ("best", "last")
        for split in ("validation", "test")
    }
    epochs = tuple({"epoch": epoch, "validation": {"accuracy": [0.1, 0.4 * epoch]}} for epoch in (1, 2))
    return RunRecord(Path("run"), "", {}, manifest(Path("run"), Fake(seed=seed, depth=2)), epochs, (), scores)


def results(reached: dict[tuple[str, str], list[float]], *, of: Experiment | None = None, **more: object) -> Results:
    """What came of these accuracies in per cent by contender and point, seeds counted from 0, all at the second rate."""
    about = of or experiment()
    finished: dict[Job, RunRecord] = {}
    for cell, own in reached.items():
        finished |= {Job(Case(*cell), rate, 0): record(0, 0.1) for rate in about.rates}
        finished |= {Job(Case(*cell), about.rates[1], seed): record(seed, value / 100) for seed, value in enumerate(own)}
    known: dict[str, object] = {"diverged": {}, "no_data": {}, "not_run": {}, "command": "torchsid experiment depth"}
    known |= {"experiment": about, "finished": finished, "rates": {Case(*cell): about.rates[1] for cell in reached}, **more}
    return Results(**known)  # type: ignore[arg-type]
