"""What every step of a running run uses."""

from dataclasses import dataclass

from torchsid.training import checkpoint
from torchsid.training.interruption import Interrupted
from torchsid.training.metrics import MetricsLog
from torchsid.training.optimization import learning_rate
from torchsid.training.pace import Pace, Pipeline
from torchsid.training.progress import Progress
from torchsid.training.reporter import Reporter
from torchsid.training.run import RunDirectory, Which
from torchsid.training.setup import Setup
from torchsid.training.tensorboard import TensorBoardWriter
from torchsid.training.toml import config_sha256


@dataclass(frozen=True, kw_only=True)
class Session:
    """A set-up with its run directory, its position and those who listen."""

    setup: Setup
    run: RunDirectory
    progress: Progress
    log: MetricsLog
    reporter: Reporter
    pace: Pace
    board: TensorBoardWriter | None

    @property
    def global_step(self) -> int:
        """Steps of the whole run that are done."""
        return (self.progress.epoch - 1) * self.setup.batches.steps + self.progress.step

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the whole run, counted from 0."""
        config = self.setup.config
        return learning_rate(step, config.training.epochs * self.setup.batches.steps, config.optimizer)

    def save(self, which: Which) -> None:
        """Write a checkpoint of this moment."""
        state = {"progress": self.progress.to_json(), "metrics_bytes": self.log.sync()}
        sha256 = config_sha256(self.setup.config)
        module, optimizer, directory = self.setup.learner.module, self.setup.optimizer, self.run.checkpoint(which)
        memory = self.setup.memory
        if world := self.setup.world:
            if isinstance(learner := self.setup.learner, Pipeline):
                learner.settle()
            checkpoint.save_sharded(directory, module, optimizer, state, config_sha256=sha256, world=world, memory=memory)
        else:
            checkpoint.save(directory, module, optimizer, state, config_sha256=sha256, memory=memory)

    def stop_if_asked(self) -> None:
        """Raise if a signal came; call it where the run has just been saved.

        Raises:
            Interrupted: a signal came.
        """
        if self.pace.signal is not None:
            self.reporter.interrupted(self.run.path)
            raise Interrupted(self.run.path, self.pace.signal)
