"""Do beliefs still come closer to the target from stage to stage? Asked after every epoch, of the same few samples."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchsid.core.cascade import Cascade
from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.core.propositions import divergence, rounding
from torchsid.tasks.domain import Samples
from torchsid.training.evaluation import predict
from torchsid.training.session import LASTING, Session
from torchsid.training.setup import Setup
from torchsid.training.spread import on_lead

_SAMPLES = 256
_BEYOND_CHANCE = 2.0  # standard errors of the mean rise


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How the divergence to the target moves from stage to stage."""

    shares: list[float]
    """Share of the positions for which stage 1 … L does not raise it."""
    means: list[float]
    """Its mean after the prior and every stage, `[L+1]`, in nats."""
    rising: list[int]
    """The stages, from 1, that raise its mean by more than chance would."""
    samples: str
    """How many samples of which split."""


def measure_descent(setup: Setup) -> Descent | None:
    """Return the descent on up to 256 validation samples, or training samples without any; the same ones every time.

    None without `watch.certify`, and for a network without stages. Of several workers each gets what the lead measured.
    """
    config, splits = setup.config, setup.splits
    if not config.watch.certify or not isinstance(setup.learner.module, Cascade):
        return None
    name, data = ("validation", splits.validation) if len(splits.validation) else ("training", splits.train)
    count = min(_SAMPLES, len(data))
    data = data.take(torch.arange(count) * len(data) // count)  # evenly from all of them: they may be sorted by outcome
    log_beliefs = predict(setup.learner, data.inputs, prepare=setup.prepare)
    return on_lead(setup.world, lambda: descent_of(log_beliefs, data, objective_of(setup.learner), f"{count} {name} samples"))


def descent_of(log_beliefs: Tensor, samples: Samples, objective: LocalObjective, name: str) -> Descent:
    """Return the descent of beliefs `[L+1, N, ..., C]` towards the target of the samples, over all positions that count."""
    counts = slice(None) if samples.weight is None else samples.weight > 0
    log_target = objective.log_target(samples.target[counts], log_beliefs.shape[-1], dtype=torch.float64)
    to_target = divergence(log_beliefs[:, counts].double(), log_target, objective).flatten(1)  # [L+1, M] of the M positions
    rise = to_target.diff(dim=0)
    allowed = rounding(to_target)
    standard_error = rise.std(dim=1, correction=0) / rise.shape[1] ** 0.5
    rising = rise.mean(dim=1) > torch.maximum(_BEYOND_CHANCE * standard_error, allowed.mean(dim=1))
    return Descent(
        shares=(rise <= allowed).double().mean(dim=1).tolist(),
        means=to_target.mean(dim=1).tolist(),
        rising=[stage for stage, rises in enumerate(rising.tolist(), 1) if rises],
        samples=name,
    )


def heed_descent(session: Session, descent: Descent) -> None:
    """Count for how long each stage has raised the mean, and warn once of those that do so for the second epoch in a row."""
    progress = session.progress
    before = progress.rising or [0] * len(descent.shares)
    progress.rising = [epochs + 1 if stage in descent.rising else 0 for stage, epochs in enumerate(before, 1)]
    changes = [
        f"stage {stage} no longer improves on {f'stage {stage - 1}' if stage > 1 else 'the prior'} "
        f"(mean KL {descent.means[stage - 1]:.4f} to {descent.means[stage]:.4f})"
        for stage, epochs in enumerate(progress.rising, 1)
        if epochs == LASTING
    ]
    if changes:
        end = "; training ends here" if session.setup.config.watch.on_no_descent == "stop" else ""
        session.warn(f"epoch {progress.epoch}: {'; '.join(changes)}, on {descent.samples}{end}")


def objective_of(learner: Learner) -> LocalObjective:
    """Return what each stage minimises; of a network trained end to end, what its stages are compared by.

    The temperature is 1 whatever the learner's, because the propositions say nothing of another.
    """
    objective = getattr(learner, "objective", LocalObjective())
    return replace(objective, temperature=1.0)
