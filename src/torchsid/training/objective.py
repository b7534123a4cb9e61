"""What the stages of a run minimise, epoch by epoch."""

from dataclasses import replace

from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.training.config import RunConfig


def objective_in(config: RunConfig, epoch: int) -> LocalObjective:
    """Return what every stage minimises in an epoch, counted from 1. It follows from the epoch alone: resuming cannot shift it."""
    learner = config.learner
    objective = LocalObjective(
        alpha=learner.alpha,
        direction=learner.direction,
        label_smoothing=learner.label_smoothing,
        temperature=learner.temperature,
    )
    if learner.alpha_over == "stages":
        return objective
    return replace(objective, alpha=objective.alphas(config.training.epochs)[epoch - 1])  # the schedule, over the epochs instead


def begin_epoch(learner: Learner, config: RunConfig, epoch: int) -> None:
    """Set what the stages minimise from now on, where a method has such an objective."""
    if hasattr(learner, "objective"):
        learner.objective = objective_in(config, epoch)
