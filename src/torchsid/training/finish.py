"""The final evaluation. Test samples are looked at here, after training, and nowhere before."""

from typing import Any

from torchsid.tasks.domain import Samples
from torchsid.training import checkpoint
from torchsid.training.evaluation import evaluate
from torchsid.training.run import WHICH, RunDirectory
from torchsid.training.samples import write_samples
from torchsid.training.session import Session
from torchsid.training.spread import on_lead
from torchsid.training.toml import config_sha256


def evaluate_run(session: Session) -> dict[str, Any]:
    """Evaluate the last and the best weights, write evaluation.json and samples.safetensors, and return the evaluation.

    Without validation samples the last weights count as the best. A data set without test samples has null in their place.

    Raises:
        RunError: the operating system refuses to write.
        CheckpointError: the best checkpoint is damaged.
    """
    setup, progress, run = session.setup, session.progress, session.run
    splits = setup.splits
    last_epoch = progress.epoch - 1
    best_epoch = progress.best_epoch or last_epoch
    last = best = {"epoch": last_epoch, **_splits(session)}
    if not progress.best_epoch:
        session.save("best")
    elif best_epoch != last_epoch:
        module, sha256 = setup.learner.module, config_sha256(setup.config)
        checkpoint.load(run.checkpoint("best"), module, config_sha256=sha256, world=setup.world)
        best = {"epoch": best_epoch, **_splits(session)}
    held_out = splits.validation if len(splits.validation) else splits.test
    if len(held_out):
        write_samples(run.samples_file if setup.leads else None, setup.learner, held_out, prepare=setup.batches.prepare)
    evaluation = {"best": best, "last": last}
    on_lead(setup.world, lambda: _settle(run, evaluation, config_sha256(setup.config)))
    return evaluation


def _settle(run: RunDirectory, evaluation: dict[str, Any], sha256: str) -> None:
    """Write the evaluation, and leave the checkpoints as one process writes them, whoever wrote them."""
    for which in WHICH:
        checkpoint.consolidate(run.checkpoint(which), config_sha256=sha256)
    run.write_evaluation(evaluation)


def _splits(session: Session) -> dict[str, Any]:
    def result(samples: Samples) -> dict[str, Any] | None:
        setup = session.setup
        return evaluate(setup.learner, samples, prepare=setup.batches.prepare) if len(samples) else None

    splits = session.setup.splits
    return {"validation": result(splits.validation), "test": result(splits.test)}
