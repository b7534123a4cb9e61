"""What an experiment found, as tidy rows: one for every number of every run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Cell, Job
from torchsid.training import RunDirectory

Row = dict[str, Any]

_RUN = {"contender": "string", "point": "string", "rate": "float64", "seed": "int64", "chosen": "bool_", "run": "string"}
_NUMBER = {"weights": "string", "split": "string", "stage": "int64", "metric": "string", "value": "float64"}
COLUMNS = _RUN | _NUMBER
"""Of a row, with Arrow's types: `point` is null beside the axis; `chosen` says whether `rate` is the one that the tuning chose;
`run` is the name of the run directory; `weights` (best, last), `split` (validation, test) and `stage` (from 1) are null for a
number of the whole run, `seconds` of training and `kept_bytes`; `value` is null where it is not finite."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """An experiment as far as it was run."""

    experiment: Experiment
    runs: Mapping[Job, Path]
    """The directories of its finished runs, those of rates that were not chosen among them."""
    rates: Mapping[Cell, float]
    """The learning rate of every cell that was tuned; without those all of whose rates diverged."""
    rows: Sequence[Row]
    """See `COLUMNS`. Of a rate that was not chosen there is the validation of the last weights alone."""
    diverged: Mapping[Job, str]
    """Where runs met NaN or infinity."""
    no_data: Mapping[Cell, str]
    """Why the data of a cell cannot be read."""
    not_run: Mapping[Cell, int]
    """The number of runs of a cell that the time did not allow. A cell that was tuned in part has no rate, and no results."""
    command: str = ""
    """What was typed, the folder of the data named DIR."""


def score(run: RunDirectory) -> tuple[float, float]:
    """Return what learning rates are chosen by, the higher the better: validation accuracy of the last stage, then least KL.

    Test data have no part in it.

    Raises:
        RunError: the run has no validation data.
    """
    validation = run.evaluation()["last"]["validation"]
    if validation is None:
        raise RunError(f"{run.path} has no validation data to choose a learning rate by: set data.validation above 0")
    kl = validation["kl"][-1]
    return validation["accuracy"][-1], -kl if isfinite(kl) else -inf


def rows_of(job: Job, run: RunDirectory, *, chosen: bool) -> Iterator[Row]:
    """Yield one row for every number by stage of a finished run's evaluation, and for what the run cost."""
    about: Row = {
        **dict.fromkeys(COLUMNS),
        "contender": job.cell.contender,
        "point": job.cell.point or None,
        "rate": job.rate,
        "seed": job.seed,
        "chosen": chosen,
        "run": job.directory,
    }
    evaluation = run.evaluation()
    for weights in ("best", "last") if chosen else ("last",):
        for split in ("validation", "test") if chosen else ("validation",):
            for metric, values in by_stage(evaluation[weights][split] or {}).items():
                for stage, value in enumerate(values[1:], 1):  # 0 is the prior
                    number = value if isfinite(value) else None
                    yield {**about, "weights": weights, "split": split, "stage": stage, "metric": metric, "value": number}
    if chosen:
        manifest = run.manifest()
        yield {**about, "metric": "seconds", "value": manifest["train_seconds"]}
        yield {**about, "metric": "kept_bytes", "value": manifest["kept_bytes"]}


def by_stage(split: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the metrics of a split that have one number for every belief `p_0 … p_L`."""
    return {
        name: values
        for name, values in split.items()
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    }
