"""Which data sets of an experiment are there: a missing one is left out and said, not met after hours."""

from dataclasses import replace

from torchsid.errors import DataError
from torchsid.study.experiments.grid import Cell, Job, configuration
from torchsid.study.experiments.plan import Experiment


def with_its_data(experiment: Experiment, data: str) -> tuple[Experiment, tuple[str, ...]]:
    """Return the experiment without the points of its axis whose data set is not in the folder, and what was left out, in words.

    Raises:
        DataError: none of them is there.
    """
    axis = experiment.axis
    named = [value for value, settings in axis.points.items() if "data.name" in settings] if axis else []
    missing = {value: error for value in named if (error := _error(experiment, value, data))}
    if axis is None or not missing:
        return experiment, ()
    if len(missing) == len(axis.points):
        raise next(iter(missing.values()))
    left = {value: settings for value, settings in axis.points.items() if value not in missing}
    words = f"{', '.join(missing)}, whose files are not in the folder of the data"
    return replace(experiment, axis=replace(axis, points=left)), (words,)


def _error(experiment: Experiment, value: str, data: str) -> DataError | None:
    from torchsid.training.build import build_task

    job = Job(Cell(next(iter(experiment.contenders)), value), experiment.rates[0], experiment.seeds[0])
    config = configuration(experiment, job, data)
    try:
        build_task(config).load(job.seed)
    except DataError as error:
        return error
    return None
