"""From an experiment to its runs: cells of contender and point of the axis, each with learning rates and seeds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torchsid.errors import ConfigError, some_of
from torchsid.study.experiments.experiment import Experiment, Settings, slug
from torchsid.study.frame import Case

if TYPE_CHECKING:
    from torchsid.tasks import Task
    from torchsid.training.config import RunConfig


@dataclass(frozen=True)
class Job:
    """One run."""

    cell: Case  # a contender at a point of the axis; the point is empty beside the axis, and without one
    rate: float
    seed: int

    @property
    def directory(self) -> str:
        """The name of its run directory."""
        parts = [*map(slug, self.cell), f"rate{self.rate:g}", f"seed{self.seed}"]
        return "-".join(filter(None, parts))


def cells(experiment: Experiment) -> list[Case]:
    """Return the cells, the most important ones first: beside the axis, at its start, its reference, its end, and then between."""
    axis, points, names = experiment.axis, [""], experiment.points
    if axis:
        points += filter(None, (names[0], axis.reference, names[-1], *names))
    beside = {name: axis is None or axis.setting in each.settings for name, each in experiment.contenders.items()}
    return [Case(name, point) for point in dict.fromkeys(points) for name in beside if beside[name] == (not point)]


def tuning(experiment: Experiment) -> list[Job]:
    """Return the runs that choose the learning rates, cell by cell: every rate on the first seed."""
    tuned = (cell for cell in cells(experiment) if not experiment.contenders[cell.method].of)
    return [Job(cell, rate, experiment.seeds[0]) for cell in tuned for rate in experiment.rates]


def repeats(experiment: Experiment, rates: Mapping[Case, float]) -> list[Job]:
    """Return all runs at the chosen rates, those of the tuning included, seed by seed; a cell without a rate is left out."""
    known = [(cell, rate) for cell in cells(experiment) if (rate := _rate(experiment, cell, rates)) is not None]
    fewer = {name: each.seeds or experiment.seeds for name, each in experiment.contenders.items()}
    return [Job(cell, rate, seed) for seed in experiment.seeds for cell, rate in known if seed in fewer[cell.method]]


def _rate(experiment: Experiment, cell: Case, rates: Mapping[Case, float]) -> float | None:
    """Return the rate of a cell; that of an ablation is a multiple of the one that was chosen for what it changes."""
    contender, axis = experiment.contenders[cell.method], experiment.axis
    if not contender.of:
        return rates.get(cell)
    point = cell.at or (axis.reference or experiment.points[0] if axis else "")
    found = rates.get(Case(contender.of, point), rates.get(Case(contender.of)))
    return None if found is None else found * contender.times


def position(experiment: Experiment, point: str) -> float | None:
    """Return where a point lies on a numeric axis; None for a name."""
    axis = experiment.axis
    value = axis.values[experiment.points.index(point)] if axis and axis.values and point else None
    return None if value is None or isinstance(value, str) else float(value)


def settings_of(experiment: Experiment, cell: Case) -> list[tuple[str, Any]]:
    """Return what a cell sets, one on top of the other: that of all runs, of the axis, of the contender.

    A contender beside the axis sets the axis' own setting first, so that its method or network need not have it.
    """
    axis, own = experiment.axis, dict(experiment.contenders[cell.method].settings)
    along: Settings = {}
    if axis and cell.at:
        along = axis.points[cell.at] if axis.points else {axis.setting: axis.values[experiment.points.index(cell.at)]}
    elif axis and axis.setting in own:
        along = {axis.setting: own.pop(axis.setting)}
    return [*experiment.settings.items(), *along.items(), *own.items()]


def configuration(experiment: Experiment, job: Job, data: str) -> "RunConfig":
    """Return the configuration of one run, see `resolve`; `data` is the folder of the data files, empty for none."""
    from torchsid.training import resolve

    below = {"training.threads": 1, "watch.conflict": "cosine" in experiment.metrics}
    above: Settings = {"optimizer.learning_rate": job.rate, "training.seed": job.seed}
    above |= {"data.path": data} if data else {}
    settings = [*below.items(), *settings_of(experiment, job.cell), *above.items()]
    return resolve(experiment.recipe, [f"{name}={json.dumps(value)}" for name, value in settings])


def judged_by(experiment: Experiment) -> str:
    """Return what of a validation chooses a learning rate, as the task says; see `Task.judged_by`."""
    from torchsid.tasks import TASKS

    name = configuration(experiment, tuning(experiment)[0], "").task
    return cast("type[Task]", TASKS.load(name)).judged_by


def check(experiment: Experiment, data: str) -> None:
    """Resolve the configuration of every cell, and see whether it fits its workers; a ConfigError names all problems."""
    from torchsid.study.experiments import parallel

    where: dict[str, list[str]] = {}
    for cell in cells(experiment):
        try:
            config = configuration(experiment, Job(cell, experiment.rates[0], experiment.seeds[0]), data)
            found = tuple(parallel.problems(config, experiment.contenders[cell.method].workers))
        except ConfigError as error:
            found = error.problems
        for problem in found:
            where.setdefault(problem, []).append(str(cell))
    if where:
        problems = [f"{some_of(these, 1)}: {problem}" for problem, these in where.items()]
        raise ConfigError(problems, source=f"experiment {experiment.name!r}")
