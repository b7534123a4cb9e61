"""The training loop. Methods differ in their learner alone; everything here is the same for all of them.

Order of samples, augmentation and dropout are functions of (seed, epoch, step), so a resumed run takes exactly the steps that the
uninterrupted one would have taken.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from torchsid.core.allocator import keep_freed_memory
from torchsid.core.cascade import Cascade
from torchsid.core.peak_memory import peak_memory_mib, reset_peak_memory
from torchsid.core.pitfalls import not_finite
from torchsid.core.side_effects import threads
from torchsid.distributed.launcher import launched
from torchsid.durable import replace_file
from torchsid.errors import ConfigError, NonFiniteError
from torchsid.learners.locality import gradient_conflict
from torchsid.learners.sid import SID
from torchsid.tasks.domain import PARTS, Splits, generator_at
from torchsid.tasks.numbers import Numbers
from torchsid.training import checkpoint, loggers
from torchsid.training.batches import Batch
from torchsid.training.config import RunConfig, config_sha256
from torchsid.training.evaluation import (
    Descent,
    believed,
    descent_of,
    evaluate,
    objective_of,
    passage_to_show,
    samples_to_show,
    tried_out,
)
from torchsid.training.interval import wilson_interval
from torchsid.training.lock import locked, refuse_if_in_use
from torchsid.training.measured import Sums
from torchsid.training.provenance import new_manifest
from torchsid.training.reporter import Reporter
from torchsid.training.run import WHICH, RunDirectory, check_directory
from torchsid.training.session import Progress, Session, begin, create_run, reopen_run
from torchsid.training.setup import Setup, choose_device, set_up
from torchsid.training.spread import on_lead, spread, workers
from torchsid.training.start import of_start, start_from

_CONFLICT_SAMPLES = 64
_DESCENT_SAMPLES = 256
_LASTING = 2  # epochs in a row in which a stage has lost descent for good; deep ones often lag behind for the first
_UNSURE = 0.05  # of an accuracy, either way: epochs that differ by less are not told apart
REPORT_SECONDS = 0.1  # between two calls of Reporter.step


def train(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    command: str = "",
    divide: Callable[[Splits], Splits] | None = None,
) -> Path:
    """Train by a configuration and return the directory of the run.

    Args:
        config: decides the result.
        out: the run directory; must be new or empty, unless `resume`.
        resume: go on with the run in `out`; a finished one is left as it is, and without one a new one begins.
        reporter: hears of progress; nobody by default.
        command: what the user typed, for the manifest.
        divide: from the data set to one with other parts, such as a fold of it for testing.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the run is saved and can be resumed.
        ConfigError: the configuration does not fit this machine, or the workers that were started.
        WorkerError: another worker hangs or has gone.
        DataError: the data are missing, damaged or do not fit; where that is found in training, one process has saved the run.
        RunError: `out` holds something else already, or cannot be written.
        CheckpointError: the checkpoint is damaged, or belongs to another configuration.
        LocalityError: SID leaks a gradient between stages.
        NonFiniteError: NaN or infinity, with `training.on_non_finite = "error"`.
    """
    with workers(config) as world, ExitStack() as stack:
        run = RunDirectory(out, None if world is None or world.leads else world.rank)
        reporter = reporter if reporter and run.worker is None else Reporter()
        wanted = resume or bool((worker := launched()) and worker.restarts)

        def claim() -> dict[str, str] | None:
            """Return what `check_directory` does, of a directory that is now ours alone."""
            refuse_if_in_use(out)
            places = check_directory(run, config, resume=wanted)  # before anything is touched
            if places is not None and _has_finished(run):
                return places
            stack.enter_context(locked(out, reporter.warning))
            return check_directory(run, config, resume=wanted)  # another process may have been there

        places = on_lead(world, claim)
        resume = places is not None
        if resume and _has_finished(run):
            reporter.warning(f"{out} has finished already: nothing to resume")
            return out
        device = choose_device(config.training.device)
        random = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
        with threads(config.training.threads or torch.get_num_threads()), random:  # which are as before on exit
            reset_peak_memory(device)
            if device.type == "cpu":
                keep_freed_memory()
            goes_on = resume and checkpoint.exists(run.checkpoint("last"))  # without what it started from, if that has gone
            start = None if goes_on else of_start(config)
            like, reads = run.about() if goes_on else start and start.about, world is None or world.is_first
            setup = set_up(config, device, cut_by_graph=world is not None, divide=divide, reads=reads, like=like)
            if start:
                start_from(start, setup.learner.module)
            stack.callback(setup.batches.close)
            if places:  # the data may have moved; the run keeps its configuration
                setup = replace(setup, config=replace(config, data=replace(config.data, **places)))
            manifest = new_manifest(setup, command)
            loggers.load(config.training.loggers)  # what cannot be recorded is an error now, not after the first epoch
            if world:
                setup, manifest["workers"] = spread(setup, world)
            else:
                _conflict(setup)
            manifest = on_lead(world, lambda: reopen_run(run, manifest, reporter) if resume else create_run(run, config, manifest))
            reporter.started(manifest, manifest["locality"]["detail"])
            if remarks := setup.splits.skipped:
                more = [f"{len(remarks) - 5} more are in manifest.json"] if len(remarks) > 5 else []
                reporter.warning(f"remarks on the data: {'; '.join([*remarks[:5], *more])}")
            if world and config.watch.conflict:
                reporter.warning("watch.conflict is not recorded: no worker has the gradients of all stages")
            with begin(run, setup, manifest, reporter) as session:
                while _goes_on(session):
                    _train_epoch(session)
                    with session.saved_without_data():
                        end_epoch(session)
                    session.heed_signals()
                evaluation = evaluate_run(session)
            reporter.finished(out, evaluation)
            session.heed_signals()  # of one that came too late to stop this run: no other one is to begin
    return out


def _has_finished(run: RunDirectory) -> bool:
    return run.manifest().get("status") == "finished"


def _goes_on(session: Session) -> bool:
    config, progress = session.setup.config, session.progress
    out_of_patience = 0 < config.training.patience <= progress.epoch - 1 - progress.best_epoch
    stopped = config.watch.on_no_descent == "stop" and max(progress.rising, default=0) >= _LASTING
    return progress.epoch <= config.training.epochs and not out_of_patience and not stopped


def _train_epoch(session: Session) -> None:
    """Take the steps of the epoch that are left.

    On the CPU the sums are read after every step; elsewhere, where reading waits for the device, when they are reported or saved.
    """
    setup, progress, sums = session.setup, session.progress, session.progress.sums
    reported = started = time.perf_counter()
    setup.learner.begin_epoch(progress.epoch)
    if phase := setup.batches.phase(progress.epoch):
        torch.manual_seed(generator_at("phase", setup.config.training.seed, phase).initial_seed())
        setup.learner.begin_phase(phase, setup.batches.of_phase(phase - 1))
    session.trainer.begin(progress.step, sums)
    with closing(session.fetched(setup.batches.of_epoch(progress.epoch, progress.step))) as batches:
        for batch in batches:
            if (told := setup.batches.collect(setup.learner, progress.epoch, progress.step)) is not None:
                progress.collected = told
            fetched = time.perf_counter()
            session.before_step()
            _take_step(session, batch)
            progress.step += 1
            due = time.perf_counter() - reported > REPORT_SECONDS or progress.step == setup.steps
            if due or setup.device.type == "cpu":
                session.read()
            ended = time.perf_counter()
            sums.seconds += ended - started
            sums.data_seconds += fetched - started
            if due:
                reported = ended
                session.reporter.step(progress.epoch, progress.step, setup.steps, sums.loss, sums.samples / sums.seconds)
            session.after_step()
            started = time.perf_counter()


def _take_step(session: Session, batch: Batch) -> None:
    seed, progress = session.setup.config.training.seed, session.progress
    # What the network itself draws (dropout) follows from the position too.
    torch.manual_seed(generator_at("network", seed, progress.epoch, progress.step).initial_seed())
    session.trainer.take(batch, session.learning_rate(session.global_step))


def end_epoch(session: Session) -> None:
    """Validate, write the epoch's record, and save the run at the start of the next epoch; an error if every step was skipped."""
    progress, setup = session.progress, session.setup
    if progress.sums.skipped_steps and not progress.sums.samples:
        raise NonFiniteError(f"every step of epoch {progress.epoch} was skipped: lower optimizer.learning_rate")
    if bad := not_finite(setup.learner.module):  # by the last step, of which no later one could tell
        advice = "lower optimizer.learning_rate, or set optimizer.clip_gradient"
        raise NonFiniteError(f"epoch {progress.epoch}: its last step left NaN or infinity in {bad}; {advice}")
    splits, judged_by = _tried_out(setup, "validation"), setup.batches.task.judged_by
    result = _evaluate(setup, splits, "validation")
    told = ("accuracy", "kl", "groups", "scores")
    found = {"loss": result["kl"][-1], **{name: result[name] for name in told if name in result}} if result else None
    validation: dict[str, Any] | None = on_lead(setup.world, lambda: found)
    descent = measure_descent(setup, splits)
    record = session.log(
        "epoch",
        epoch=progress.epoch,
        step=session.global_step,
        learning_rate=session.learning_rate(session.global_step - 1),
        **progress.sums.means(),
        validation=validation,
        seconds=progress.sums.seconds,
        memory_mib=peak_memory_mib(setup.device),
        conflict=_conflict(setup),
        descent=descent.shares if descent else None,
        **({"collected": progress.collected} if progress.collected else {}),
    )
    session.reporter.epoch(record)
    session.record(record)
    if descent:
        heed_descent(session, descent)
    merit, improved = ({**validation.get("scores", {}), **validation}[judged_by])[-1] if validation else 0.0, False
    if validation and setup.batches.phase(progress.epoch) == setup.batches.task.phases - 1:  # before, it has not seen all
        improved = _is_better(merit, validation["loss"], progress, by_loss=judged_by == "kl")
    if validation and improved:
        progress.best_epoch = progress.epoch
        progress.best_accuracy, progress.best_loss = merit, validation["loss"]
    progress.seconds += progress.sums.seconds
    progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, Sums()
    if improved:
        session.save("best")
    session.save("last")


def _is_better(merit: float, loss: float, best: Progress, *, by_loss: bool = False) -> bool:
    """Return whether a validation is better than the best so far: by loss, or by merit, such as accuracy, and of equals by loss."""
    if best.best_loss is None or by_loss:
        return best.best_loss is None or loss < best.best_loss
    return merit > best.best_accuracy or (merit == best.best_accuracy and loss < best.best_loss)


def _conflict(setup: Setup) -> list[list[float]] | None:
    """Return the cosines between the stages' gradients on the same few samples every time; None if not asked for."""
    learner = setup.learner
    if not setup.config.watch.conflict or not isinstance(learner, SID):
        return None
    batch = setup.batches.first(_CONFLICT_SAMPLES)
    try:
        return gradient_conflict(learner, batch.x, batch.target, weight=batch.weight).tolist()
    except ValueError as error:
        raise ConfigError([f"watch.conflict = true: {error}; set it to false"]) from None


def measure_descent(setup: Setup, splits: Splits) -> Descent | None:
    """Return the descent on up to 256 validation samples, or training samples without any; the same ones every time.

    None without `watch.certify`, and for a network without stages. Of several workers each gets what the lead measured.
    """
    config = setup.config
    if not config.watch.certify or not isinstance(setup.learner.module, Cascade):
        return None
    name, data = ("validation", splits.validation) if len(splits.validation) else ("training", splits.train)
    count = min(_DESCENT_SAMPLES, len(data))
    data = data.take(torch.arange(count) * len(data) // count)  # evenly from all of them: they may be sorted by outcome
    parts = believed(setup.learner, data, prepare=setup.batches.prepare)
    descent = descent_of(parts, objective_of(setup.learner), f"{count} {name} samples")
    return on_lead(setup.world, lambda: descent)


def heed_descent(session: Session, descent: Descent) -> None:
    """Count for how long each stage has raised the mean, and warn once of those that do so for the second epoch in a row."""
    progress = session.progress
    before = progress.rising or [0] * len(descent.shares)
    progress.rising = [epochs + 1 if stage in descent.rising else 0 for stage, epochs in enumerate(before, 1)]
    changes = [
        f"stage {stage} no longer improves on {f'stage {stage - 1}' if stage > 1 else 'the prior'} "
        f"(mean KL {descent.means[stage - 1]:.4f} to {descent.means[stage]:.4f})"
        for stage, epochs in enumerate(progress.rising, 1)
        if epochs == _LASTING
    ]
    if changes:
        end = "; training ends here" if session.setup.config.watch.on_no_descent == "stop" else ""
        session.warn(f"epoch {progress.epoch}: {'; '.join(changes)}, on {descent.samples}{end}")


def _tried_out(setup: Setup, *parts: str) -> Splits:
    return tried_out(setup.learner, setup.batches.splits, prepare=setup.batches.prepare, parts=parts)


def _evaluate(setup: Setup, splits: Splits, split: str) -> dict[str, Any] | None:
    samples, task = getattr(splits, split), setup.batches.task
    if not len(samples):
        return None
    result = evaluate(setup.learner, samples, prepare=setup.batches.prepare, numbers=Numbers.of(setup.splits.about))
    scores = {
        **result.get("scores", {}),
        **task.scores(result["kl"], split, setup.splits.about),
        **splits.scores.get(split, {}),
    }
    return result | ({"scores": scores} if scores else {})


def evaluate_run(session: Session) -> dict[str, Any]:
    """Evaluate the last and the best weights, write evaluation.json and samples to show, and return the evaluation.

    Test samples are looked at here, after training, and nowhere before. Without validation samples the last weights count as the
    best; a data set without test samples has null in their place.
    """
    setup, progress, run = session.setup, session.progress, session.run
    learner = setup.learner

    def results(epoch: int) -> tuple[dict[str, Any], Splits]:
        splits = _tried_out(setup, *PARTS[1:])
        return {"epoch": epoch, **{part: _evaluate(setup, splits, part) for part in PARTS[1:]}}, splits

    last_epoch, best_epoch = progress.epoch - 1, progress.best_epoch
    last, splits = results(last_epoch)
    best = last
    if not best_epoch:
        session.save("best")
    elif best_epoch != last_epoch:
        checkpoint.load(run.checkpoint("best"), learner, config_sha256=config_sha256(setup.config), world=setup.world)
        best, splits = results(best_epoch)
    judges = setup.batches.task.judged_by in ("accuracy", "kl") and "bins" not in setup.splits.about
    if best_epoch and run.worker is None and judges:
        low, high = wilson_interval(best["validation"]["accuracy"][-1], n := best["validation"]["n"])
        if high - low > 2 * _UNSURE:
            told = f"the {n} validation positions, by which the best epoch was chosen, tell accuracy to ±{50 * (high - low):.0f}"
            session.warn(f"{told} points (95 %): raise data.validation, or quote the last weights")
    part = "validation" if len(splits.validation) else "test"
    held_out, whole = getattr(splits, part), getattr(setup.splits if setup.world else splits, part)
    name, show = ("passage", passage_to_show) if setup.batches.task.continues else ("samples", samples_to_show)
    shown = show(learner, held_out, prepare=setup.batches.prepare, whole=whole) if len(held_out) else None
    evaluation = {"best": best, "last": last}

    def write() -> None:
        session.check_files()
        floor = setup.batches.task.floor(setup.splits)
        if shown:
            replace_file(run.path / f"{name}.safetensors", safetensors.torch.save(shown))
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        of_one = {name: each for name, each in parts.items() if each.names and each.target[:1].dim() == 1}  # outcome a sample
        named = {name: {"names": list(each.names or ()), "target": each.target[:].tolist()} for name, each in of_one.items()}
        if named:
            replace_file(run.path / "names.json", json.dumps(named) + "\n")
        for which in WHICH:  # as one process writes them, whoever wrote them
            checkpoint.consolidate(run.checkpoint(which))
        run.write_evaluation(evaluation | ({"floor": asdict(floor)} if floor else {}))

    on_lead(setup.world, write)
    return evaluation
