"""Experiments and results made by hand, for what needs no training."""

from pathlib import Path

import numpy as np
from torchsid.show.record import RunRecord, Split, Weights

from torchsid.study.experiments.experiment import Axis, Contender, Experiment
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.experiments.result import Grid, Result, Trial

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

    def weights(value: float) -> Weights:
        return Weights(2, _split(value, kl), _split(value, kl))

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
        "data": {"name": "digits", "class_names": ["0", "1"], "train": 9, "validation": 1, "test": 4, "fingerprint": {"a": "ff"}},
    }
    epochs = ({"epoch": 1, "validation": {"accuracy": [0.1, 0.4]}}, {"epoch": 2, "validation": {"accuracy": [0.1, 0.8]}})
    best_weights = weights(accuracy if best is None else best)
    return RunRecord(Path("run"), "", {}, manifest, epochs, (), best_weights, weights(accuracy), None)


def _split(accuracy: float, kl: tuple[float, ...]) -> Split:
    stages = len(kl)
    return Split(
        n=100,
        accuracy=(0.1,) * (stages - 1) + (accuracy,),
        kl=kl,
        ece=(0.0,) * (stages - 1) + (0.05,),
        confusion=np.eye(2, dtype=np.int64),
        calibration={},
        correct=None,
        kl_quantiles={},
    )


def result(
    scores: dict[tuple[str, str], list[float]], *, of: Experiment | None = None, values: tuple[str, ...] | None = None
) -> Result:
    """A result with these accuracies in per cent by contender and value, seeds counted from 0, all at the second rate."""
    about = of or experiment()
    seeds = tuple(range(max(map(len, scores.values()))))
    rate = about.rates[1]
    jobs = {
        Job(Cell(*cell), rate, seed): record(seed, value / 100) for cell, own in scores.items() for seed, value in enumerate(own)
    }
    trials = tuple(Trial(Job(Cell(*cell), tried, 0), 0.9 if tried == rate else 0.8) for cell in scores for tried in about.rates)
    return Result(
        experiment=about,
        grid=Grid((about.axis.names() if about.axis else ()) if values is None else values, seeds),
        trials=trials,
        rates={Cell(*cell): rate for cell in scores},
        runs=jobs,
        failed={},
        command="torchsid experiment depth",
    )
