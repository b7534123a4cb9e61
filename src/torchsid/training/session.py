"""A run in progress: where it stands, how it begins or goes on, when it is saved, and how it ends."""

import json
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from torchsid.core.peak_memory import peak_memory_mib
from torchsid.durable import append, os_errors, previous, replace_file
from torchsid.errors import CheckpointError, DataError, NonFiniteError, RunError, bullets
from torchsid.training import checkpoint, loggers
from torchsid.training.batches import Batch
from torchsid.training.config import RunConfig, config_sha256, to_toml
from torchsid.training.lock import LOCK
from torchsid.training.measured import Sums
from torchsid.training.provenance import data_changes, now
from torchsid.training.recipes import describe
from torchsid.training.reporter import Reporter
from torchsid.training.run import WHICH, RunDirectory, Which, cut_back, synced_size
from torchsid.training.setup import Setup
from torchsid.training.spread import on_lead
from torchsid.training.step import Trainer, learning_rate

_SAVE = -1  # a request that is no signal


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a complete step; it is saved, and `--resume` goes on from there. Has `run` and `signal`."""

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

    epoch: PositiveInt = 1
    step: NonNegativeInt = 0  # steps of the epoch that are done
    sums: Sums = field(default_factory=Sums)
    best_epoch: int = 0
    best_accuracy: float = -1.0  # or the score that judges the task
    best_loss: float | None = None
    seconds: float = 0.0
    collected: dict[str, float] = field(default_factory=dict)  # what a collector says of the epoch's samples
    rising: list[int] = field(default_factory=list)  # epochs in a row that raised a stage's KL, `[L]`; empty unless `watch.certify`


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
    record: Callable[[Mapping[str, Any]], None] = lambda _: None  # sends the record of an epoch to the loggers
    saved_at: float = field(default_factory=time.perf_counter)
    log_bytes: int = 0  # of metrics.jsonl, as far as this process knows
    holder: str = ""  # what the lock of the run directory says, where this process holds it
    saved: set[Which] = field(default_factory=set)  # the checkpoints that are there

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
        self.log_bytes = append(self.run.metrics_file, json.dumps(record).encode() + b"\n")
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
        on_lead(setup.world, self.check_files)
        state = {"progress": asdict(self.progress), "metrics_bytes": synced_size(self.run.metrics_file)}
        held = setup.batches.state()
        checkpoint.save(directory, setup.learner, setup.optimizer, state, config_sha256=sha256, held=held, world=setup.world)
        self.saved.add(which)
        self.saved_at = time.perf_counter()

    def check_files(self) -> None:
        """See whether the run directory still holds what this run has written there, unmoved and unchanged; if not, a RunError."""
        run = self.run
        state = {
            run.path / LOCK: (run.path / LOCK).is_file() and (run.path / LOCK).read_text("utf-8") == self.holder,
            run.metrics_file: run.metrics_file.is_file() and run.metrics_file.stat().st_size == self.log_bytes,
            **{path: path.is_file() for path in (run.config_file, run.path / "manifest.json")},
            **{path: checkpoint.exists(path) for path in map(run.checkpoint, self.saved)},
        }
        if gone := [str(path) for path, as_it_was in state.items() if not as_it_was]:
            what = run.path if not run.path.exists() else ", ".join(gone)
            advice = "put it back, and go on from the last checkpoint by --resume"
            raise RunError(f"{what} was moved, removed or changed while training, so the run ends here: {advice}")

    def read(self) -> None:
        """Bring the sums of the epoch up to date; waits for the device.

        The first bad step of an epoch is a warning, or a NonFiniteError where `training.on_non_finite` does not allow it.
        """
        sums = self.progress.sums
        warned = sums.skipped_steps > 0
        problem = f"epoch {self.progress.epoch}, {found}" if (found := self.trainer.read(sums)) else ""
        if problem and self.setup.config.training.on_non_finite == "error":
            advice = "lower optimizer.learning_rate, set optimizer.clip_gradient, or training.on_non_finite = 'skip'"
            raise NonFiniteError(f"{problem}; {advice}")
        if problem and not warned:  # the record has their number
            self.warn(f"skipped {problem}")

    @contextmanager
    def saved_without_data(self) -> Iterator[None]:
        """Within the block, which changes nothing that is saved, a DataError ends the run only after one process has saved it."""
        try:
            yield
        except DataError as error:
            if self.setup.world:
                raise
            self.read()
            self.save("last")
            self.heed_signals()  # one may be why data could not be read
            where = f"the run is saved, after step {self.progress.step} of epoch {self.progress.epoch}"
            raise DataError(f"{error}\n{where}: put right what is wrong, and go on by --resume") from error

    def fetched(self, batches: Iterator[Batch]) -> Generator[Batch]:
        """Yield batches; see `saved_without_data`."""
        with self.saved_without_data():
            yield from batches

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

    def heed_signals(self) -> None:
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
    """Write configuration and manifest, and return the manifest; where that fails, nothing is left behind."""
    try:
        replace_file(run.config_file, to_toml(config))
        run.write_manifest(manifest)
    except RunError:
        with suppress(OSError):
            run.config_file.unlink(missing_ok=True)
        raise
    return manifest


def reopen_run(run: RunDirectory, manifest: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Write the manifest of a resumed run, which keeps the time of its first start, and return it; refuse other data."""
    if changes := data_changes(run.about(), manifest["data"]):
        advice = "restore them, or start a new run"
        raise CheckpointError(f"the data have changed since {run.path} began: {advice}{bullets(changes)}")
    before = run.manifest()
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
        run.check_best()
        try:
            progress = TypeAdapter(Progress).validate_python(state["progress"])
            state["metrics_bytes"] = TypeAdapter(NonNegativeInt).validate_python(state["metrics_bytes"])
        except (KeyError, ValidationError) as error:
            why = f"{run.checkpoint('last')} does not say where the run was: {str(error).splitlines()[0]}"
            raise CheckpointError(f"{why}; restore it from a copy, or start a new run") from None
    with os_errors(run.metrics_file):
        if run.worker is not None:
            progress.sums = Sums()  # those of the stages before the last alone
            run.metrics_file.parent.mkdir(exist_ok=True)
        if run.worker is not None or not state:
            run.metrics_file.touch()
    if run.worker is None:
        cut_back(run.metrics_file, state["metrics_bytes"] if state else 0)
    ended: dict[str, Any] = {"status": "interrupted"}
    with stop_on_signal() as stop, ExitStack() as stack:
        trainer = Trainer(setup, lambda message: session.warn(message))
        session = Session(setup=setup, run=run, progress=progress, reporter=reporter, stop=stop, trainer=trainer)
        if run.worker is None:
            session.holder = (run.path / LOCK).read_text("utf-8")
        session.saved = {which for which in WHICH if state and checkpoint.exists(run.checkpoint(which))}
        if run.worker is None:
            chosen = {name: value for name, value, *_ in describe(setup.config)}
            makes = loggers.load(setup.config.training.loggers)
            session.record = stack.enter_context(loggers.record(makes, run.path, chosen, session.global_step, session.warn))
        try:
            session.log("resume" if session.global_step else "start", epoch=progress.epoch, step=progress.step)
            yield session
            session.log("end")
            ended = {"status": "finished", "finished": now()}
        except Exception as error:
            with suppress(RunError):  # the first error is the one to show
                session.log("error", message=f"{type(error).__name__}: {error}")
            raise
        finally:
            ended["train_seconds"] = progress.seconds + progress.sums.seconds
            ended["peak_memory_mib"] = peak_memory_mib(setup.device)
            with suppress(RunError) if ended["status"] == "interrupted" else nullcontext():  # the first error is the one to show
                if run.worker is None:
                    session.check_files()
                    run.write_manifest({**manifest, **ended})


def restore(run: RunDirectory, setup: Setup, reporter: Reporter) -> dict[str, Any] | None:
    """Return the state of the last checkpoint, loaded, or of the one before if it is damaged; None where there is none."""
    last, sha256 = run.checkpoint("last"), config_sha256(setup.config)
    found = [directory for directory in (last, previous(last)) if checkpoint.exists(directory)]
    for directory in found:
        try:
            held = setup.batches.state()
            state = checkpoint.load(directory, setup.learner, setup.optimizer, config_sha256=sha256, held=held, world=setup.world)
            setup.batches.renewed()
            return state
        except CheckpointError as error:
            if directory == found[-1]:
                raise
            reporter.warning(f"{error}. Going on from the checkpoint before it")
    return None
