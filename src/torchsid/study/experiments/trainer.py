"""One run of an experiment: finished already, begun, or new; in this process, or as a job of workers."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from torchsid.errors import CheckpointError, DataError, NonFiniteError
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.grid import Job, configuration
from torchsid.study.experiments.torchrun import train_on_workers
from torchsid.training import RunDirectory, train
from torchsid.training.config import differences
from torchsid.training.run import check_directory

_BEFORE_TRAINING = {"config.toml", ".config.toml.new", ".manifest.json.new"}  # all that a run killed at its start has left


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    seconds: float = 0.0
    """From start to evaluation; 0 where it had finished before."""
    diverged: str = ""
    """Where it met NaN or infinity; empty when it did not."""
    no_data: str = ""
    """Why its data cannot be read; empty when they can."""

    @property
    def finished(self) -> bool:
        """Whether there is an evaluation."""
        return not (self.diverged or self.no_data)


@dataclass(frozen=True)
class Trainer:
    """Trains the runs of an experiment; plain data, so that it can be sent to another process."""

    experiment: Experiment
    runs: Path
    """The folder of the run directories."""
    data: str = ""
    """The folder of the data files, empty for none."""
    command: str = ""
    """What was typed, for the manifests."""

    def run_of(self, job: Job) -> RunDirectory:
        """Return the run directory of a run, which need not be there yet."""
        return RunDirectory(self.runs / job.directory)

    def has_finished(self, job: Job) -> bool:
        """Return whether a run needs no training.

        Raises:
            CheckpointError: it was begun under another configuration.
        """
        run, config = self.run_of(job), configuration(self.experiment, job, self.data)
        if run.path.is_dir() and {entry.name for entry in run.path.iterdir()} <= _BEFORE_TRAINING:
            shutil.rmtree(run.path)  # nothing of it is worth going on with
        if not check_directory(run, config, resume=True):
            return False
        # Settings of `distributed` are no part of a run's identity, but of a contender's.
        if changed := differences(run.config().distributed, config.distributed, "distributed."):
            raise CheckpointError(f"{run.path} was begun otherwise: {', '.join(changed)}; name another directory by --out")
        return bool(run.manifest()["status"] == "finished")

    def __call__(self, job: Job) -> Outcome:
        """Train a run that has not finished; one that was interrupted goes on.

        Raises:
            Interrupted: a signal came; the run is saved.
            RunError: its workers failed, or it cannot be written.
        """
        config, path = configuration(self.experiment, job, self.data), self.run_of(job).path
        workers = self.experiment.contenders[job.cell.contender].workers
        diverged = no_data = ""
        started = time.perf_counter()
        try:
            if workers > 1:
                train_on_workers(config, path, workers)
            else:
                train(config, path, resume=True, command=self.command)
        except NonFiniteError as error:
            diverged = str(error).partition(";")[0]
        except DataError as error:
            no_data = str(error)
        return Outcome(time.perf_counter() - started, diverged, no_data)
