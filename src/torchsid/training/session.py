"""A run in progress: where it stands, how it begins or goes on, when it is saved, and how it ends."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from torchsid.core.peak_memory import peak_memory_mib
from torchsid.errors import CheckpointError, NonFiniteError, RunError
from torchsid.training import checkpoint
from torchsid.training.config import RunConfig, config_sha256, to_toml
from torchsid.training.durable import os_errors, previous, replace_file
from torchsid.training.measured import Sums
from torchsid.training.provenance import now
from torchsid.training.reporter import Reporter, tensorboard
from torchsid.training.run import RunDirectory, Which, cut_back, synced_size
from torchsid.training.setup import Setup
from torchsid.training.step import Trainer, learning_rate

_SAVE = -1  # a request that is no signal


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a complete step; it is saved, and `--resume` goes on from there.

    Attributes:
        run: the run directory.
        signal: the number of the signal.
    """

    def __init__(self, run: Path, number: int) -> None:
        super().__init__(f"interrupted; saved in {run}")
        self.run, self.signal = run, number


class StopRequest:
    """Which signal has asked the run to stop; None as long as none has."""

    signal: int | None = None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block, the first SIGINT or SIGTERM is only noted; a second one ends the program at once.

    Python allows signal handlers in the main thread alone; elsewhere no signal is noted.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    allowed = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM) if allowed}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


@dataclass(kw_only=True)
class Session:
    """A set-up with its run directory, its position and those who listen.

    Whether it is saved or stops is asked after every step. One process decides when the step is done; of several workers the first
    decides before the step, and the decision travels with the batch, because the others are at earlier steps.
    """

    setup: Setup
    run: RunDirectory
    progress: Progress
    reporter: Reporter
    stop: StopRequest
    trainer: Trainer
    board: Any = None
    """TensorBoard's writer, or None."""
    saved_at: float = field(default_factory=time.perf_counter)

    @property
    def global_step(self) -> int:
        """Steps of the whole run that are done."""
        return (self.progress.epoch - 1) * self.setup.steps + self.progress.step

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the whole run, counted from 0."""
        config = self.setup.config
        return learning_rate(step, config.training.epochs * self.setup.steps, config.optimizer)

    def log(self, event: str, **values: object) -> dict[str, Any]:
        """Append a line to metrics.jsonl and return what it says."""
        record = {"event": event, **values}
        with os_errors(self.run.metrics_file), self.run.metrics_file.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
        return record

    def warn(self, message: str) -> None:
        """Tell the log and the user."""
        self.log("warning", message=message)
        self.reporter.warning(message)

    def save(self, which: Which) -> None:
        """Write a checkpoint of this moment."""
        setup, directory, sha256 = self.setup, self.run.checkpoint(which), config_sha256(self.setup.config)
        if setup.pipeline:
            setup.pipeline.settle()
        state = {"progress": asdict(self.progress), "metrics_bytes": synced_size(self.run.metrics_file)}
        checkpoint.save(directory, setup.learner, setup.optimizer, state, config_sha256=sha256, world=setup.world)
        self.saved_at = time.perf_counter()

    def read(self) -> None:
        """Bring the sums of the epoch up to date; waits for the device.

        Raises:
            NonFiniteError: a step was bad, which `training.on_non_finite` does not allow; else the first of an epoch is a warning.
        """
        sums = self.progress.sums
        warned = sums.skipped_steps > 0
        problem = f"epoch {self.progress.epoch}, {found}" if (found := self.trainer.read(sums)) else ""
        if problem and self.setup.config.training.on_non_finite == "error":
            advice = "lower optimizer.learning_rate, set optimizer.clip_gradient, or training.on_non_finite = 'skip'"
            raise NonFiniteError(f"{problem}; {advice}")
        if problem and not warned:  # the record has their number
            self.warn(f"skipped {problem}")

    def before_step(self) -> None:
        """Let the first of several workers decide."""
        if self.setup.pipeline:
            self.setup.pipeline.request = self._request()

    def after_step(self) -> None:
        """Save, as was decided; an Interrupted, if it was decided to stop."""
        pipeline = self.setup.pipeline
        if request := pipeline.request if pipeline else self._request():
            self.read()
            self.save("last")
            self._obey(request)

    def after_epoch(self) -> None:
        """Raise an Interrupted, the run having been saved, if a signal came to any worker."""
        world, own = self.setup.world, self.stop.signal
        self._obey(next(filter(None, world.gather(own) if world else [own]), 0))

    def _request(self) -> int:
        every, passed = self.setup.config.training.checkpoint_every_seconds, time.perf_counter() - self.saved_at
        return self.stop.signal or (_SAVE if 0 < every <= passed else 0)

    def _obey(self, request: int) -> None:
        if request > 0:
            self.reporter.interrupted(self.run.path)
            raise Interrupted(self.run.path, request)


def create_run(run: RunDirectory, config: RunConfig, manifest: dict[str, Any]) -> dict[str, Any]:
    """Make the run directory with configuration and manifest, and return the manifest; where that fails, nothing is left behind."""
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
    """Write the manifest of a resumed run, which keeps the time of its first start, and return it; refuse other data."""
    before = run.manifest()
    if before["data"]["fingerprint"] != manifest["data"]["fingerprint"]:
        raise CheckpointError(
            f"the data have changed since {run.path} began (manifest.json, data.fingerprint): restore them, or start a new run"
        )
    then = before["versions"]
    if changed := [f"{name} {then.get(name)} -> {now}" for name, now in manifest["versions"].items() if then.get(name) != now]:
        reporter.warning(f"resumed with other versions, results may differ in the last digits: {', '.join(changed)}")
    manifest = {**manifest, "started": before["started"]}
    run.write_manifest(manifest)
    return manifest


@contextmanager
def begin(run: RunDirectory, setup: Setup, manifest: dict[str, Any], reporter: Reporter) -> Iterator[Session]:
    """Go on from the last checkpoint, if there is one, with the log cut back to there; write into the manifest how it ended."""
    state, progress = restore(run, setup, reporter), Progress()
    if state:
        progress = Progress(**{**state["progress"], "sums": Sums(**state["progress"]["sums"])})
    if run.worker is None:
        cut_back(run.metrics_file, state["metrics_bytes"] if state else 0)
    else:
        progress.sums = Sums()  # those of the stages before the last alone
        run.metrics_file.parent.mkdir(exist_ok=True)
    ended: dict[str, Any] = {"status": "interrupted"}
    with stop_on_signal() as stop, ExitStack() as stack:
        trainer = Trainer(setup, lambda message: session.warn(message))
        session = Session(setup=setup, run=run, progress=progress, reporter=reporter, stop=stop, trainer=trainer)
        if setup.config.watch.tensorboard and run.worker is None:
            writer = tensorboard()(str(run.path / "tensorboard"), purge_step=session.global_step)
            session.board = stack.enter_context(writer)
        try:
            session.log("resume" if session.global_step else "start", epoch=progress.epoch, step=progress.step)
            yield session
            session.log("end")
            ended = {"status": "finished", "finished": now()}
        except Exception as error:
            session.log("error", message=f"{type(error).__name__}: {error}")
            raise
        finally:
            ended["train_seconds"] = progress.seconds + progress.sums.seconds
            ended["peak_memory_mib"] = peak_memory_mib(setup.device)
            with suppress(RunError) if ended["status"] == "interrupted" else nullcontext():  # the first error is the one to show
                if run.worker is None:
                    run.write_manifest({**manifest, **ended})


def restore(run: RunDirectory, setup: Setup, reporter: Reporter) -> dict[str, Any] | None:
    """Return the state of the last checkpoint, loaded, or of the one before if it is damaged; None where there is none."""
    last, sha256 = run.checkpoint("last"), config_sha256(setup.config)
    found = [directory for directory in (last, previous(last)) if checkpoint.exists(directory)]
    for directory in found:
        try:
            return checkpoint.load(directory, setup.learner, setup.optimizer, config_sha256=sha256, world=setup.world)
        except CheckpointError as error:
            if directory == found[-1]:
                raise
            reporter.warning(f"{error}. Going on from the checkpoint before it")
    return None
