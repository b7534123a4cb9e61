"""The training loop. Methods differ in their learner alone; everything here is the same for all of them.

Order of samples, augmentation and dropout are functions of (seed, epoch, step), so a resumed run takes exactly the steps that the
uninterrupted one would have taken.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torchsid.core.process_memory import peak_memory_mib, reset_peak_memory
from torchsid.errors import NonFiniteError, RunError
from torchsid.tasks.order import generator_at
from torchsid.training.batches import Batch
from torchsid.training.config import RunConfig
from torchsid.training.descent import descent_has_stopped
from torchsid.training.epoch import end_epoch
from torchsid.training.finish import evaluate_run
from torchsid.training.interruption import stop_on_signal
from torchsid.training.manifest import locality_of, new_manifest
from torchsid.training.optimization import set_learning_rate
from torchsid.training.pace import Pace, Pipeline
from torchsid.training.provenance import now
from torchsid.training.reporter import Reporter, Silent
from torchsid.training.run import RunDirectory
from torchsid.training.session import Session
from torchsid.training.setup import Setup, set_up, torch_settings
from torchsid.training.spread import on_lead, spread, was_restarted, who_does_what, workers
from torchsid.training.start import check_directory, create_run, open_log, reopen_run
from torchsid.training.step import training_step
from torchsid.training.tensorboard import TensorBoardWriter, summary_writer

if TYPE_CHECKING:
    from torchsid.distributed.world import World

_LOCALITY_SAMPLES = 16
_REPORT_SECONDS = 0.1  # between two calls of Reporter.step


def train(config: RunConfig, out: Path, *, resume: bool = False, reporter: Reporter | None = None, command: str = "") -> Path:
    """Train by a configuration and leave a run directory.

    Args:
        config: decides the result.
        out: the run directory; must be new or empty, unless `resume`.
        resume: go on with the run in `out`; a finished one is left as it is, and without one a new one begins.
        reporter: hears of progress; nobody by default.
        command: what the user typed, for the manifest.

    Returns:
        The run directory.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the run is saved and can be resumed.
        ConfigError: the configuration does not fit this machine, or the workers that were started.
        WorkerError: another worker hangs or has gone.
        DataError: the data are missing, damaged or do not fit.
        RunError: `out` holds something else already, or cannot be written.
        CheckpointError: the checkpoint is damaged, or belongs to another configuration.
        LocalityError: SID leaks a gradient between stages.
        NonFiniteError: NaN or infinity, with `training.on_non_finite = "error"`.
    """
    run = RunDirectory(out)
    with workers(config) as world:
        reporter = reporter if reporter and (world is None or world.leads) else Silent()
        resume = on_lead(world, lambda: check_directory(run, config, resume=resume or was_restarted()))
        if resume and run.manifest()["status"] == "finished":
            reporter.warning(f"{out} has finished already: nothing to resume")
            return out
        if config.watch.tensorboard:
            summary_writer()  # a missing package is an error now, not after the first epoch
        with torch_settings(config) as device:
            evaluation = _train(config, run, device, world, resume=resume, reporter=reporter, command=command)
        reporter.finished(out, evaluation)
    return out


def _train(
    config: RunConfig,
    run: RunDirectory,
    device: torch.device,
    world: "World | None",
    *,
    resume: bool,
    reporter: Reporter,
    command: str,
) -> dict[str, Any]:
    reset_peak_memory(device)
    setup = set_up(config, device, cut_by_graph=world is not None)
    locality = locality_of(setup.learner, setup.batches.first(_LOCALITY_SAMPLES))
    manifest = new_manifest(setup, locality, command)
    if world:
        setup = spread(setup, world)
        manifest["workers"] = who_does_what(setup, world)
    manifest = on_lead(world, lambda: reopen_run(run, manifest, reporter) if resume else create_run(run, config, manifest))
    reporter.started(manifest, locality["detail"])
    if world and config.watch.conflict:
        reporter.warning("watch.conflict is not recorded: no worker has the gradients of all stages")
    if left_out := setup.splits.skipped:
        reporter.warning(f"{len(left_out)} left out of the data (all are in manifest.json), first: {left_out[0]}")
    with _session(setup, run, reporter) as session, _status(session, manifest):
        _train_epochs(session)
        return evaluate_run(session)


def _train_epochs(session: Session) -> None:
    progress, training = session.progress, session.setup.config.training
    session.log.write("resume" if session.global_step else "start", epoch=progress.epoch, step=progress.step)
    while progress.epoch <= training.epochs and not _ends_early(session):
        _train_epoch(session)
        end_epoch(session)
        session.pace.at_epoch_end()
        session.stop_if_asked()


def _ends_early(session: Session) -> bool:
    training, progress = session.setup.config.training, session.progress
    out_of_patience = training.patience > 0 and progress.epoch - 1 - progress.best_epoch >= training.patience
    return out_of_patience or (session.setup.config.watch.on_no_descent == "stop" and descent_has_stopped(progress))


def _train_epoch(session: Session) -> None:
    """Take the steps of the epoch that are left."""
    progress, sums, batches = session.progress, session.progress.sums, session.setup.batches
    reported = started = time.perf_counter()
    session.pace.saved()
    session.setup.learner.begin_epoch(progress.epoch)
    for batch in batches.epoch(progress.epoch, progress.step):
        fetched = time.perf_counter()
        session.pace.before_step()
        _take_step(session, batch)
        progress.step += 1
        ended = time.perf_counter()
        sums.seconds += ended - started
        sums.data_seconds += fetched - started
        if ended - reported > _REPORT_SECONDS or progress.step == batches.steps:
            reported = ended
            loss = sums.loss / (sums.positions or 1)
            session.reporter.step(progress.epoch, progress.step, batches.steps, loss, sums.samples / sums.seconds)
        if session.pace.pauses():
            session.save("last")
            session.stop_if_asked()
            session.pace.saved()
        started = time.perf_counter()


def _take_step(session: Session, batch: Batch) -> None:
    setup, progress = session.setup, session.progress
    config, sums = setup.config, progress.sums
    set_learning_rate(setup.optimizer, session.learning_rate(session.global_step))
    # What the network itself draws (dropout) follows from the position too.
    torch.manual_seed(generator_at("network", config.training.seed, progress.epoch, progress.step).initial_seed())
    try:
        numbers = training_step(setup.learner, setup.optimizer, batch, config)
    except NonFiniteError as error:
        where = f"epoch {progress.epoch}, step {progress.step + 1}: {error}"
        if config.training.on_non_finite == "error":
            advice = "lower optimizer.learning_rate, set optimizer.clip_gradient, or training.on_non_finite = 'skip'"
            raise NonFiniteError(f"{where}; {advice}") from None
        if not sums.skipped_steps:  # one warning an epoch; the record has their number
            session.log.write("warning", message=f"skipped {where}")
            session.reporter.warning(f"skipped {where}")
        sums.skipped_steps += 1
    else:
        sums.add(numbers.samples, numbers.positions, numbers.loss, numbers.stage_losses, numbers.correct)


@contextmanager
def _session(setup: Setup, run: RunDirectory, reporter: Reporter) -> Iterator[Session]:
    progress, log = open_log(run, setup, reporter)
    with ExitStack() as stack:
        stack.enter_context(log)
        stop = stack.enter_context(stop_on_signal())
        board = None
        if setup.config.watch.tensorboard and setup.leads:
            step = (progress.epoch - 1) * setup.batches.steps + progress.step
            board = stack.enter_context(closing(TensorBoardWriter(run.path / "tensorboard", step=step)))
        carrier = setup.learner if isinstance(setup.learner, Pipeline) else None
        pace = Pace(stop, setup.config.training.checkpoint_every_seconds, carrier, setup.world)
        yield Session(setup=setup, run=run, progress=progress, log=log, reporter=reporter, pace=pace, board=board)


@contextmanager
def _status(session: Session, manifest: dict[str, Any]) -> Iterator[None]:
    """Write into the manifest how the run ended."""
    ended: dict[str, Any] = {"status": "interrupted"}
    try:
        yield
        session.log.write("end")
        ended = {"status": "finished", "finished": now()}
    except Exception as error:
        session.log.write("error", message=f"{type(error).__name__}: {error}")
        raise
    finally:
        sums = session.progress.sums
        ended["train_seconds"] = session.progress.seconds + sums.seconds
        ended["peak_memory_mib"] = peak_memory_mib(session.setup.device)
        with suppress(RunError) if ended["status"] == "interrupted" else ExitStack():  # the first error is the one to show
            if session.setup.leads:
                session.run.write_manifest({**manifest, **ended})
