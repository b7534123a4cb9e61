"""The end of an epoch: validation, the record, the best epoch, the checkpoints."""

from typing import Any

from torchsid.core.process_memory import peak_memory_mib
from torchsid.errors import NonFiniteError
from torchsid.learners.conflict import gradient_conflict
from torchsid.learners.sid import SID
from torchsid.training.descent import heed_descent, measure_descent
from torchsid.training.evaluation import evaluate
from torchsid.training.session import Session

_CONFLICT_SAMPLES = 64


def end_epoch(session: Session) -> None:
    """Validate, write the epoch's record, and save the run at the start of the next epoch.

    Raises:
        NonFiniteError: every step of the epoch was skipped.
        RunError: the operating system refuses to write.
    """
    progress, setup = session.progress, session.setup
    if progress.sums.skipped_steps and not progress.sums.samples:
        raise NonFiniteError(f"every step of epoch {progress.epoch} was skipped: lower optimizer.learning_rate")
    validation = _validate(session)
    if setup.world:
        validation = setup.world.from_lead(validation)
    descent = measure_descent(setup)
    record = session.log.write(
        "epoch",
        epoch=progress.epoch,
        step=session.global_step,
        learning_rate=session.learning_rate(session.global_step - 1),
        **progress.sums.means(),
        validation=validation,
        seconds=progress.sums.seconds,
        memory_mib=peak_memory_mib(setup.device),
        conflict=_conflict(session),
        descent=descent.shares if descent else None,
    )
    session.reporter.epoch(record)
    if session.board:
        session.board.write(record)
    if descent:
        heed_descent(session, descent)

    improved = validation is not None and validation["accuracy"][-1] > progress.best_accuracy
    if validation is not None and improved:
        progress.best_epoch, progress.best_accuracy = progress.epoch, validation["accuracy"][-1]
    progress.start_next_epoch()
    if improved:
        session.save("best")
    session.save("last")


def _validate(session: Session) -> dict[str, Any] | None:
    """Return loss, accuracy and divergence of every belief on the validation samples; None without any."""
    setup = session.setup
    if not len(setup.splits.validation):
        return None
    split = evaluate(setup.learner, setup.splits.validation, prepare=setup.batches.prepare)
    return {"loss": split["kl"][-1], "accuracy": split["accuracy"], "kl": split["kl"]}


def _conflict(session: Session) -> list[list[float]] | None:
    """Return the cosines between the stages' gradients on the same few samples every time; None if not asked for."""
    learner = session.setup.learner
    if not session.setup.config.watch.conflict or not isinstance(learner, SID):
        return None
    batch = session.setup.batches.first(_CONFLICT_SAMPLES)
    cosines: list[list[float]] = gradient_conflict(learner, batch.x, batch.target).tolist()
    return cosines
