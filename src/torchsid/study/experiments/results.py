"""What came of an experiment, and all of its numbers as rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Cell, Job
from torchsid.study.frame import rows_of
from torchsid.study.runs import Scores, load_run

_RUN = {"contender": "string", "point": "string", "rate": "float64", "seed": "int64", "chosen": "bool_", "run": "string"}
_PLACE = {"weights": "string", "split": "string", "stage": "int64", "epoch": "int64"}
COLUMNS = {**_RUN, **_PLACE, "metric": "string", "value": "float64"}
"""Of a row, with Arrow's types. `point` is null beside the axis; `chosen` says whether the tuning chose `rate`; `run` is the run
directory's name. Numbers of the whole run have neither weights, split, stage (0 is the prior) nor epoch."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """An experiment as far as it was run."""

    experiment: Experiment
    runs: Mapping[Job, Path]
    """The directories of its finished runs, those of rates that were not chosen among them."""
    rates: Mapping[Cell, float]
    """The learning rate of every cell that was tuned; without those all of whose rates diverged."""
    diverged: Mapping[Job, str]
    """Where runs met NaN or infinity."""
    no_data: Mapping[Cell, str]
    """Why the data of a cell cannot be read."""
    not_run: Mapping[Cell, int]
    """The number of runs of a cell that the time did not allow. A cell that was tuned in part has no rate, and no results."""
    command: str = ""
    """What was typed, the folder of the data named DIR."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every number of every run, see `COLUMNS`; of a rate that was not chosen the last weights' validation alone."""
        for job, path in self.runs.items():
            chosen = job.rate == self.rates.get(job.cell)
            head = (job.cell.contender, job.cell.point or None, job.rate, job.seed, chosen, job.directory)
            for row in rows_of(load_run(path), job.cell.contender, job.cell.point):
                if chosen or (row.weights, row.split) == ("last", "validation"):
                    place = (row.weights or None, row.split or None, row.stage, row.epoch)
                    yield dict(zip(COLUMNS, (*head, *place, row.metric, row.value), strict=True))


def validation_of(run: Path) -> Scores:
    """Return how the last weights answer the validation data, by which learning rates are chosen; test data have no part in it.

    Raises:
        RunError: the run has no validation data.
    """
    if found := load_run(run).scores.get(("last", "validation")):
        return found
    raise RunError(f"{run} has no validation data to choose a learning rate by: set data.validation above 0")
