"""From an experiment to its runs: cells of contender and axis value, each with learning rates and seeds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchsid.errors import ConfigError
from torchsid.study.experiments.plan import Contender, Experiment, Settings, slug, value_name

if TYPE_CHECKING:
    from torchsid.training.config import RunConfig


@dataclass(frozen=True)
class Cell:
    """A contender at a value of the axis; the value is empty beside the axis, and without one."""

    contender: str
    value: str = ""


@dataclass(frozen=True)
class Job:
    """One run."""

    cell: Cell
    rate: float
    seed: int

    @property
    def directory(self) -> str:
        """The name of its run directory."""
        parts = [slug(self.cell.contender), slug(self.cell.value), f"rate{self.rate:g}", f"seed{self.seed}"]
        return "-".join(filter(None, parts))


@dataclass(frozen=True)
class Grid:
    """What of an experiment is run."""

    values: tuple[str, ...]
    seeds: tuple[int, ...]


def whole(experiment: Experiment) -> Grid:
    """Return the grid with nothing dropped."""
    return Grid(experiment.axis.names() if experiment.axis else (), tuple(experiment.seeds))


def cells(experiment: Experiment, grid: Grid) -> list[Cell]:
    """Return the cells, contender by contender."""
    return [Cell(name, value) for name in experiment.contenders for value in _values(experiment, name, grid)]


def _values(experiment: Experiment, contender: str, grid: Grid) -> tuple[str, ...]:
    beside = experiment.axis is None or experiment.axis.setting in experiment.contenders[contender].settings
    return ("",) if beside else grid.values


def seeds_of(contender: Contender, grid: Grid) -> list[int]:
    """Return the seeds of the grid that the contender is trained with, that of the tuning first."""
    return [seed for seed in grid.seeds if not contender.seeds or seed in contender.seeds]


def tuning(experiment: Experiment, grid: Grid) -> list[Job]:
    """Return the runs that choose the learning rates: every cell, every rate, the first seed."""
    tuned = [cell for cell in cells(experiment, grid) if not experiment.contenders[cell.contender].of]
    return [Job(cell, rate, grid.seeds[0]) for cell in tuned for rate in experiment.rates]


def repeats(experiment: Experiment, grid: Grid, rates: dict[Cell, float]) -> list[Job]:
    """Return all runs at the chosen rates, those of the tuning included; a cell without a rate is left out."""
    jobs = []
    for cell in cells(experiment, grid):
        contender = experiment.contenders[cell.contender]
        rate = rates.get(_lender(experiment, cell))
        if rate is not None:
            jobs += [Job(cell, rate * contender.times, seed) for seed in seeds_of(contender, grid)]
    return jobs


def _lender(experiment: Experiment, cell: Cell) -> Cell:
    """Return the cell whose rate a cell takes: its own, or that of the contender it is an ablation of."""
    of = experiment.contenders[cell.contender].of
    beside = bool(of and experiment.axis and experiment.axis.setting in experiment.contenders[cell.contender].settings)
    value = experiment.axis.reference or experiment.axis.names()[0] if beside and experiment.axis else cell.value
    return Cell(of, value) if of else cell


def position(experiment: Experiment, value: str) -> float | None:
    """Return where a value lies on a numeric axis; None for a name."""
    numbers = {value_name(each): each for each in experiment.axis.values} if experiment.axis else {}
    found = numbers.get(value)
    return None if isinstance(found, str) or found is None else float(found)


def settings_of(experiment: Experiment, cell: Cell) -> Settings:
    """Return what a cell sets: that of all runs, of the axis, of the contender, the later ones first in right."""
    along: Settings = {}
    if experiment.axis and cell.value:
        given = {value_name(each): {experiment.axis.setting: each} for each in experiment.axis.values}
        along = (experiment.axis.points or given)[cell.value]
    return {**experiment.settings, **along, **experiment.contenders[cell.contender].settings}


def configuration(experiment: Experiment, job: Job, data: str) -> "RunConfig":
    """Return the configuration of one run.

    Args:
        experiment: it belongs to.
        job: one of its runs.
        data: folder of the data files, empty for none.

    Raises:
        ConfigError: its settings do not exist, or do not go together.
    """
    from torchsid.training.recipes import resolve

    own = {"optimizer.learning_rate": job.rate, "training.seed": job.seed, "data.path": data}
    table = {"training.threads": 1, **settings_of(experiment, job.cell), **own}
    return resolve(experiment.recipe, [f"{name}={json.dumps(value)}" for name, value in table.items()])


def check(experiment: Experiment, data: str) -> None:
    """Resolve the configuration of every cell, and see whether it fits its workers.

    Raises:
        ConfigError: names all problems, each with its contender.
    """
    problems = list(dict.fromkeys(_problems(experiment, data)))
    if problems:
        raise ConfigError(problems, source=f"experiment {experiment.name!r}")


def _problems(experiment: Experiment, data: str) -> Iterator[str]:
    from torchsid.study.experiments import launch

    for cell in cells(experiment, whole(experiment)):
        where = " at ".join(filter(None, (cell.contender, cell.value)))
        try:
            config = configuration(experiment, Job(cell, experiment.rates[0], experiment.seeds[0]), data)
        except ConfigError as error:
            yield from (f"{where}: {problem}" for problem in error.problems)
        else:
            yield from (f"{where}: {problem}" for problem in launch.problems(config, experiment.contenders[cell.contender].workers))
