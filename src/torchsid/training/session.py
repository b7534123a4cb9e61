"""A run in progress: where it stands, how it begins or goes on, and how it is saved."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torchsid.errors import CheckpointError, RunError
from torchsid.training import checkpoint
from torchsid.training.build import Setup
from torchsid.training.config import RunConfig, config_sha256, to_toml
from torchsid.training.durable import os_errors, write_text
from torchsid.training.interruption import CheckpointTiming, Interrupted, PipelineLearner, stop_on_signal
from torchsid.training.optimization import StepNumbers, learning_rate
from torchsid.training.reporter import Reporter, TensorBoardWriter
from torchsid.training.run import MetricsLog, RunDirectory, Which


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the positions of an epoch, divided by their weight at its end: a smaller last batch weighs what it should."""

    samples: int = 0
    positions: float = 0.0
    stage_losses: list[float] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    skipped_steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, step: StepNumbers) -> None:
        """Add one step."""
        self.samples += step.samples
        self.positions += step.positions
        self.stage_losses = _sum(self.stage_losses, [loss * step.positions for loss in step.stage_losses])
        self.correct = _sum(self.correct, step.correct)

    @property
    def loss(self) -> float:
        """The mean of the summed loss of all stages; 0 when every step was skipped."""
        return sum(self.stage_losses) / (self.positions or 1.0)

    def means(self) -> dict[str, Any]:
        """Return the epoch's training metrics under their names in metrics.jsonl; null when every step was skipped."""
        count, seconds = self.positions or None, self.seconds or None
        return {
            "train_loss": self.loss if count else None,
            "train_stage_losses": [total / count for total in self.stage_losses] if count else None,
            "train_accuracy": [total / count for total in self.correct] if count else None,
            "samples_per_second": self.samples / seconds if seconds else None,
            "data_share": self.data_seconds / seconds if seconds else None,
            "skipped_steps": self.skipped_steps,
        }


def _sum(total: list[float], more: list[float]) -> list[float]:
    return [a + b for a, b in zip(total, more, strict=True)] if total else more


@dataclass(kw_only=True)
class Progress:
    """Position and history of a run, all of which JSON holds exactly. `epoch` counts from 1 and is the one in work."""

    epoch: int = 1
    step: int = 0
    """Steps of the epoch that are done."""
    sums: EpochSums = field(default_factory=EpochSums)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0
    rising: list[int] = field(default_factory=list)
    """For how many epochs in a row each stage has taken beliefs away from the target, `[L]`; empty without `watch.certify`."""

    def start_next_epoch(self) -> None:
        """Move to the first step of the next epoch."""
        self.seconds += self.sums.seconds
        self.epoch, self.step, self.sums = self.epoch + 1, 0, EpochSums()

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the progress that `dataclasses.asdict` made plain."""
        return cls(**{**state, "sums": EpochSums(**state["sums"])})


@dataclass(frozen=True, kw_only=True)
class Session:
    """A set-up with its run directory, its position and those who listen."""

    setup: Setup
    run: RunDirectory
    progress: Progress
    log: MetricsLog
    reporter: Reporter
    timing: CheckpointTiming
    board: TensorBoardWriter | None

    @property
    def global_step(self) -> int:
        """Steps of the whole run that are done."""
        return (self.progress.epoch - 1) * self.setup.batches.steps + self.progress.step

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the whole run, counted from 0."""
        config = self.setup.config
        return learning_rate(step, config.training.epochs * self.setup.batches.steps, config.optimizer)

    def warn(self, message: str) -> None:
        """Tell the log and the user."""
        self.log.write("warning", message=message)
        self.reporter.warning(message)

    def save(self, which: Which) -> None:
        """Write a checkpoint of this moment."""
        setup, learner = self.setup, self.setup.learner
        if isinstance(learner, PipelineLearner):
            learner.settle()
        checkpoint.save(
            self.run.checkpoint(which),
            learner.module,
            setup.optimizer,
            {"progress": asdict(self.progress), "metrics_bytes": self.log.sync()},
            config_sha256=config_sha256(setup.config),
            world=setup.world,
            memory=learner.state(),
        )

    def stop_if_asked(self) -> None:
        """Raise if a signal came; call it where the run has just been saved.

        Raises:
            Interrupted: a signal came.
        """
        if self.timing.signal is not None:
            self.reporter.interrupted(self.run.path)
            raise Interrupted(self.run.path, self.timing.signal)


def create_run(run: RunDirectory, config: RunConfig, manifest: dict[str, Any]) -> dict[str, Any]:
    """Make the run directory with configuration and manifest, and return the manifest.

    Raises:
        RunError: the operating system refuses; nothing is left behind.
    """
    existed = run.path.exists()
    try:
        with os_errors(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        write_text(run.config_file, to_toml(config))
        run.write_manifest(manifest)
    except RunError:
        # An empty directory may be a mount point or someone's working directory: it stays.
        with suppress(OSError):
            run.config_file.unlink(missing_ok=True)
            if not existed:
                run.path.rmdir()
        raise
    return manifest


def reopen_run(run: RunDirectory, manifest: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Write the manifest of a resumed run, which keeps the time of its first start, and return it.

    Raises:
        CheckpointError: the data are not those that the run began with.
        RunError: the operating system refuses.
    """
    before = run.manifest()
    if before["data"]["fingerprint"] != manifest["data"]["fingerprint"]:
        raise CheckpointError(
            f"the data have changed since {run.path} began (manifest.json, data.fingerprint): restore them, or start a new run"
        )
    now, then = manifest["versions"], before["versions"]
    if changed := [f"{name} {then.get(name)} -> {now[name]}" for name in now if now[name] != then.get(name)]:
        reporter.warning(f"resumed with other versions, results may differ in the last digits: {', '.join(changed)}")
    manifest = {**manifest, "started": before["started"]}
    run.write_manifest(manifest)
    return manifest


@contextmanager
def begin(run: RunDirectory, setup: Setup, reporter: Reporter) -> Iterator[Session]:
    """Restore weights, optimiser and position of a run that was saved, and open its log, cut back to there.

    Of several workers each has a log of its own; the lead's is the run's.

    Raises:
        CheckpointError: the checkpoint is damaged, and so is the one before it, if there is one.
        RunError: the log cannot be written.
    """
    state, config = restore(run, setup, reporter), setup.config
    progress = Progress.from_json(state["progress"]) if state else Progress()
    if setup.world and not setup.world.leads:
        progress.sums = EpochSums()  # those of the stages before the last alone
        log = MetricsLog(run.log_of(setup.world.rank))
    else:
        log = MetricsLog(run.metrics_file, size=state["metrics_bytes"] if state else 0)
    with closing(log), stop_on_signal() as stop, ExitStack() as stack:
        carrier = setup.learner if isinstance(setup.learner, PipelineLearner) else None
        timing = CheckpointTiming(stop, config.training.checkpoint_every_seconds, carrier, setup.world)
        board = None
        if config.watch.tensorboard and setup.leads:
            step = (progress.epoch - 1) * setup.batches.steps + progress.step
            board = stack.enter_context(closing(TensorBoardWriter(run.path / "tensorboard", step=step)))
        yield Session(setup=setup, run=run, progress=progress, log=log, reporter=reporter, timing=timing, board=board)


def restore(run: RunDirectory, setup: Setup, reporter: Reporter) -> dict[str, Any] | None:
    """Return the state of the last checkpoint that is whole, loaded; None where there is none."""
    last, learner, sha256 = run.checkpoint("last"), setup.learner, config_sha256(setup.config)
    found = [directory for directory in (last, checkpoint.previous(last)) if checkpoint.exists(directory)]
    for directory in found:
        try:
            return checkpoint.load(
                directory, learner.module, setup.optimizer, config_sha256=sha256, world=setup.world, memory=learner.state()
            )
        except CheckpointError as error:
            if directory == found[-1]:
                raise
            reporter.warning(f"{error}. Going on from the checkpoint before it")
    return None
