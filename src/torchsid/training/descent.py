"""Do beliefs still come closer to the labels from stage to stage? Asked after every epoch, of the same few images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from torchsid.core.objective import LocalObjective, alphas_of
from torchsid.core.propositions import divergence, rounding
from torchsid.training.config import LearnerConfig
from torchsid.training.evaluation import predict
from torchsid.training.progress import Progress
from torchsid.training.session import Session
from torchsid.training.setup import Setup

_IMAGES = 256
_BEYOND_CHANCE = 2.0  # standard errors of the mean rise
_EPOCHS = 2  # in a row; deep stages often lag behind for the first one


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How the divergence to the target moves from stage to stage."""

    shares: list[float]
    """Share of the images for which stage 1 … L does not raise it."""
    means: list[float]
    """Its mean after the prior and every stage, `[L+1]`, in nats."""
    rising: list[int]
    """The stages, from 1, that raise its mean by more than chance would."""
    images: str
    """How many images of which split."""


def measure_descent(setup: Setup) -> Descent | None:
    """Return the descent on up to 256 validation images, or training images without any; the same ones every time.

    None without `training.certify`, and for a network without stages. Of several workers each gets what the lead measured.
    """
    config, splits = setup.config, setup.splits
    if not config.training.certify or config.model.network == "plain":
        return None
    name, data = ("validation", splits.validation) if len(splits.validation) else ("training", splits.train)
    count = min(_IMAGES, len(data))
    data = data.take(torch.arange(count) * len(data) // count)  # evenly from all of them: they may be sorted by class
    log_beliefs = predict(setup.learner, data.images, prepare=setup.batches.prepare)
    descent = descent_of(log_beliefs, data.labels, objective_of(config.learner), f"{count} {name} images")
    return setup.world.from_lead(descent) if setup.world else descent


def descent_of(log_beliefs: Tensor, labels: Tensor, objective: LocalObjective, images: str) -> Descent:
    """Return the descent of beliefs `[L+1, N, C]` towards labels `[N]`."""
    log_target = objective.log_target(labels, log_beliefs.shape[-1], dtype=torch.float64)
    to_target = divergence(log_beliefs.double(), log_target, objective)  # [L+1, N]
    rise = to_target.diff(dim=0)
    allowed = rounding(to_target)
    standard_error = rise.std(dim=1, correction=0) / len(labels) ** 0.5
    rising = rise.mean(dim=1) > torch.maximum(_BEYOND_CHANCE * standard_error, allowed.mean(dim=1))
    return Descent(
        shares=(rise <= allowed).double().mean(dim=1).tolist(),
        means=to_target.mean(dim=1).tolist(),
        rising=[stage for stage, rises in enumerate(rising.tolist(), 1) if rises],
        images=images,
    )


def heed_descent(session: Session, descent: Descent) -> None:
    """Count for how long each stage has raised the mean, and warn once of those that do so for the second epoch in a row."""
    progress = session.progress
    before = progress.rising or [0] * len(descent.shares)
    progress.rising = [epochs + 1 if stage in descent.rising else 0 for stage, epochs in enumerate(before, 1)]
    stages = [stage for stage, epochs in enumerate(progress.rising, 1) if epochs == _EPOCHS]
    if stages:
        stops = session.setup.config.training.on_no_descent == "stop"
        message = f"epoch {progress.epoch}: {_in_words(stages, descent)}" + ("; training ends here" if stops else "")
        session.log.write("warning", message=message)
        session.reporter.warning(message)


def descent_has_stopped(progress: Progress) -> bool:
    """Return whether a stage takes beliefs away from the labels for good, not for one epoch."""
    return any(epochs >= _EPOCHS for epochs in progress.rising)


def objective_of(learner: LearnerConfig) -> LocalObjective:
    """Return what each stage minimises in the last epoch; of a network trained end to end, what its stages are compared by.

    The temperature is 1 whatever the run's, because the propositions say nothing of another.
    """
    alpha = alphas_of(learner.alpha, 2)[-1] if learner.alpha_over == "epochs" else learner.alpha
    return LocalObjective(alpha=alpha, direction=learner.direction, label_smoothing=learner.label_smoothing)


def _in_words(stages: list[int], descent: Descent) -> str:
    changes = (
        f"stage {stage} no longer improves on {f'stage {stage - 1}' if stage > 1 else 'the prior'} "
        f"(mean KL {descent.means[stage - 1]:.4f} to {descent.means[stage]:.4f})"
        for stage in stages
    )
    return f"{'; '.join(changes)}, on {descent.images}"
