"""Where the numbers of a run go besides its directory: a folder that is a registry, in which a file is a logger.

A logger is called with the run's directory, in which what it writes goes into a folder of its own, with all settings by their
dotted names, and with the steps that are done when it begins: 0, or where an interrupted run goes on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torchsid.errors import ConfigError
from torchsid.registry import Registry

LOGGERS = Registry("torchsid.training.loggers", "logger")


class Logger(Protocol):
    """Records the epochs of one run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of an epoch that ended with this step."""

    def close(self, *, finished: bool) -> None:
        """The training is over, `finished` or broken off."""


Make = Callable[[Path, Mapping[str, Any], int], Logger]


def load(names: Sequence[str]) -> list[Make]:
    """Return what makes these loggers; a ConfigError with all that is unknown, or lacks its package."""
    found, problems = [], []
    for name in names:
        try:
            found.append(LOGGERS.load(name))
        except ImportError:
            problems.append(f"training.loggers names {name!r}: pip install 'torchsid[{name}]', or leave it out")
        except ConfigError as error:
            problems += [f"training.loggers: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return found


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch, those of stages as `validation_accuracy/stage 1`; validation has the prior as stage 0."""
    values = {name: record[name] for name in ("learning_rate", "train_loss", "samples_per_second", "memory_mib")}
    values |= {f"train_accuracy/stage {stage}": each for stage, each in enumerate(record["train_accuracy"] or (), 1)}
    validation = record["validation"] or {}
    for name, stages in ({name: validation.get(name, ()) for name in ("accuracy", "kl")} | validation.get("scores", {})).items():
        values |= {f"validation_{name}/stage {stage}": each for stage, each in enumerate(stages)}
    return {name: value for name, value in values.items() if value is not None}


@contextmanager
def record(
    makes: Sequence[Make], run: Path, settings: Mapping[str, Any], step: int, warn: Callable[[str], None]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that sends an epoch's record to all loggers.

    One that cannot begin is a ConfigError. One that fails later is left out from then on, with a warning: no service that is down
    ends a training.
    """
    open_: list[Logger] = []

    def each(does: Callable[[Logger], None]) -> None:
        for logger in tuple(open_):
            try:
                does(logger)
            except Exception as error:
                open_.remove(logger)
                warn(f"{type(logger).__name__} records no more of this run: {type(error).__name__}: {error}")

    finished = False
    try:
        for make in makes:
            try:
                open_.append(make(run, settings, step))
            except Exception as error:
                name = getattr(make, "__name__", str(make))
                raise ConfigError(
                    [f"training.loggers: {name} cannot begin: {type(error).__name__}: {error}; mend it, and go on by --resume"]
                ) from error
        yield lambda record: each(lambda logger: logger.log(record["step"], scalars(record)))
        finished = True
    finally:
        each(lambda logger: logger.close(finished=finished))
