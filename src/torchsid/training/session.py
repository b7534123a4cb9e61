"""A run in progress: where it stands, how it begins or goes on, and how it is saved."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torchsid.errors import CheckpointError, RunError
from torchsid.training import checkpoint
from torchsid.training.config import RunConfig, config_sha256, to_toml
from torchsid.training.durable import os_errors, previous, replace_file
from torchsid.training.interruption import CheckpointTiming, Interrupted, PipelineLearner, stop_on_signal
from torchsid.training.optimization import Sums, learning_rate
from torchsid.training.reporter import Reporter, tensorboard
from torchsid.training.run import RunDirectory, Which, cut_back, synced_size
from torchsid.training.setup import Setup

LASTING = 2  # epochs in a row in which a stage has lost descent for good; deep ones often lag behind for the first


@dataclass(kw_only=True)
class Progress:
    """Position and history of a run, all of which JSON holds exactly. `epoch` counts from 1 and is the one in work."""

    epoch: int = 1
    step: int = 0
    """Steps of the epoch that are done."""
    sums: Sums = field(default_factory=Sums)
    best_epoch: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0
    rising: list[int] = field(default_factory=list)
    """For how many epochs in a row each stage has taken beliefs away from the target, `[L]`; empty without `watch.certify`."""

    @property
    def descent_has_stopped(self) -> bool:
        """Whether a stage takes beliefs away from the target for good, not for one epoch."""
        return any(epochs >= LASTING for epochs in self.rising)

    def start_next_epoch(self) -> None:
        """Move to the first step of the next epoch."""
        self.seconds += self.sums.seconds
        self.epoch, self.step, self.sums = self.epoch + 1, 0, Sums()


@dataclass(frozen=True, kw_only=True)
class Session:
    """A set-up with its run directory, its position and those who listen."""

    setup: Setup
    run: RunDirectory
    progress: Progress
    log_file: Path
    """Of a worker other than the lead it is not the run's."""
    reporter: Reporter
    timing: CheckpointTiming
    board: Any = None
    """TensorBoard's writer, or None."""

    @property
    def global_step(self) -> int:
        """Steps of the whole run that are done."""
        return (self.progress.epoch - 1) * self.setup.batches.steps + self.progress.step

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the whole run, counted from 0."""
        config = self.setup.config
        return learning_rate(step, config.training.epochs * self.setup.batches.steps, config.optimizer)

    def log(self, event: str, **values: object) -> dict[str, Any]:
        """Append a line to metrics.jsonl and return what it says."""
        record = {"event": event, **values}
        with os_errors(self.log_file), self.log_file.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        return record

    def warn(self, message: str) -> None:
        """Tell the log and the user."""
        self.log("warning", message=message)
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
            {"progress": asdict(self.progress), "metrics_bytes": synced_size(self.log_file)},
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
        replace_file(run.config_file, to_toml(config))
        run.write_manifest(manifest)
    except RunError:
        with suppress(OSError):
            run.config_file.unlink(missing_ok=True)
            if not existed:  # an empty directory may be a mount point or someone's working directory: it stays
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
    versions = {name: (before["versions"].get(name), now) for name, now in manifest["versions"].items()}
    if changed := [f"{name} {then} -> {now}" for name, (then, now) in versions.items() if then != now]:
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
    state, watch = restore(run, setup, reporter), setup.config.watch
    progress = Progress(**state["progress"]) if state else Progress()
    if state:
        progress.sums = Sums(**state["progress"]["sums"])
    log_file = run.metrics_file
    if setup.world and not setup.leads:
        progress.sums = Sums()  # those of the stages before the last alone
        log_file = run.log_of(setup.world.rank)
        log_file.parent.mkdir(exist_ok=True)
    else:
        cut_back(log_file, state["metrics_bytes"] if state else 0)
    carrier = setup.learner if isinstance(setup.learner, PipelineLearner) else None
    with stop_on_signal() as stop, ExitStack() as stack:
        timing = CheckpointTiming(stop, setup.config.training.checkpoint_every_seconds, carrier, setup.world)
        session = Session(setup=setup, run=run, progress=progress, log_file=log_file, reporter=reporter, timing=timing)
        if watch.tensorboard and setup.leads:
            writer = tensorboard()(str(run.path / "tensorboard"), purge_step=session.global_step)
            session = replace(session, board=stack.enter_context(closing(writer)))
        yield session


def restore(run: RunDirectory, setup: Setup, reporter: Reporter) -> dict[str, Any] | None:
    """Return the state of the last checkpoint that is whole, loaded; None where there is none."""
    last, learner, sha256 = run.checkpoint("last"), setup.learner, config_sha256(setup.config)
    found = [directory for directory in (last, previous(last)) if checkpoint.exists(directory)]
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
