"""A certificate: for every stage, on which share of some labelled samples the statements of the theory hold, and where they fail.

Samples are, more exactly, the positions that count: of a classifier each sample has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from torchsid.core import propositions
from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.study.positions import Flat, flatten
from torchsid.tasks import Samples
from torchsid.training.evaluation import Predictor, outcome_of, predict


@dataclass(frozen=True)
class Summary:
    """A number over samples: its mean, and the worst of them."""

    mean: float
    worst: float


@dataclass(frozen=True)
class Failures:
    """The samples whose belief a stage took further from the target."""

    by_class: tuple[int, ...]  # how many of each class, by the labels that were put in
    samples: tuple[int, ...]  # their places among those that count, of a classifier in the split; the largest rise first
    rises: tuple[float, ...]  # how far `D(p_i, p_y)` rose for each of them, nats


@dataclass(frozen=True)
class StageCertificate:
    """What holds at one stage; shares are of samples, divergences in nats."""

    stage: int  # counted from 1
    alpha: float  # weight of the target in its loss
    loss: Summary  # `L_i(p_i)`
    epsilon: Summary  # `ε_i = max(0, L_i(p_i) − L_i(p_{i−1}))`
    kl: Summary  # `D(p_i, p_y)`, the divergence to the target
    premise: float  # share for which `L_i(p_i) ≤ L_i(p_{i−1})`: the premise of Proposition 2
    conclusion: float  # share for which its conclusion holds, the term for the distance moved included
    descent: float  # share whose divergence to the target did not grow
    mean_descends: bool  # whether the mean divergence to the target did not grow
    bound: Summary  # Proposition 4's bound on `D(p_i, p_y)`; the worst is the largest
    slack: Summary  # the bound less what it bounds; the worst is the least, which theory forbids to be negative
    distance: Summary  # `L_i(p_i) − min L_i`: divergence from the closed-form minimiser (Proposition 1)
    residual: Summary  # what is left of the prior's gap to the target, as a share of it
    ideal_residual: float  # what ideal stages leave of it, `Π_{j≤i} (1 − α_j)`
    failures: Failures  # where the divergence to the target grew


@dataclass(frozen=True)
class Certificate:
    """What holds on some samples with some labels."""

    n: int  # how many samples
    class_sizes: tuple[int, ...]  # how many of each class, by the labels that were put in
    prior_kl: Summary  # `D(p_0, p_y)`
    premise_everywhere: float  # share of samples for which the premise of Proposition 2 holds at every stage
    descent_everywhere: float  # share of samples whose divergence to the target grows at no stage
    contradictions: int  # how often the premise of Proposition 2 holds without its conclusion: never, if all is right
    stages: tuple[StageCertificate, ...]  # stages 1 … L


def certify(
    predictor: Predictor | Callable[[Tensor], Tensor],
    samples: Samples,
    objective: LocalObjective,
    *,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int = 500,
    onlooker: Callable[[Mapping[str, Flat]], None] | None = None,
) -> dict[str, Certificate]:
    """Return a certificate of the labels given, and where noise has changed some, one of the clean ones: `given` and `clean`.

    The predictor is a learner, which is put into evaluation mode meanwhile, or a function from a batch to log-beliefs
    `[L+1, B, ..., C]`. The temperature is taken as 1, of which alone the propositions speak. Positions of weight 0 count nowhere.
    The `onlooker` is shown every batch with each set of labels, so that one pass serves several.
    """
    objective = replace(objective, temperature=1.0)
    targets = {"given": samples.target}
    if samples.clean_target is not None and not torch.equal(samples.target[:], samples.clean_target):
        targets["clean"] = samples.clean_target
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in targets}
    num_classes = 0
    for start in range(0, len(samples), batch_size):
        batch = slice(start, start + batch_size)
        log_beliefs = predict(predictor, samples.inputs[batch], prepare=prepare, batch_size=batch_size)  # [L+1, B, ..., C]
        num_classes = log_beliefs.shape[-1]
        weight = None if samples.weight is None else samples.weight[batch]
        flat = {name: flatten(log_beliefs, target[batch], weight) for name, target in targets.items()}
        if onlooker:
            onlooker({name: each._replace(sample=each.sample + start) for name, each in flat.items()})
        for name, each in flat.items():
            parts[name].append(measure(each.log_beliefs, each.target, objective, each.weight))
    joined = {name: {key: torch.cat([part[key] for part in own], dim=-1) for key in own[0]} for name, own in parts.items()}
    return {name: certificate(numbers, num_classes, objective) for name, numbers in joined.items()}


def measure(log_beliefs: Tensor, target: Tensor, objective: LocalObjective, weight: Tensor | None = None) -> dict[str, Tensor]:
    """Return what the propositions say of every sample, from log-beliefs `[L+1, P, C]`, computed with in float64.

    The target is classes `[P]` or probability rows `[P, C]`, smoothed as the objective says, see `LocalObjective.log_target`; the
    weight is `[P]`, or all count alike.

    Returns:
        Numbers of stages and samples, `[L, P]`, by their names in `StageCertificate`; `rise`, by how much a stage raises the
        divergence to the target, and `rounding`, by how much it may; `prior_kl`, `label` and `weight`, `[P]`.
    """
    log_beliefs = log_beliefs.double().log_softmax(-1)
    believed = log_beliefs, objective.log_target(target, log_beliefs.shape[-1], dtype=torch.float64), objective
    to_target, left = propositions.divergence(*believed), propositions.residuals(*believed)
    excess, rise, rounding = propositions.excess_losses(*believed), to_target.diff(dim=0), propositions.rounding(to_target)
    epsilon = excess.clamp(min=0)
    bound = propositions.error_bounds(to_target, epsilon, objective.alphas(len(excess)))
    return {
        "label": outcome_of(target),
        "weight": log_beliefs.new_ones(len(target)) if weight is None else weight,
        "prior_kl": to_target[0],
        "loss": propositions.local_losses(*believed),
        "epsilon": epsilon,
        "kl": to_target[1:],
        "premise": excess <= rounding,
        "conclusion": propositions.descent_margins(*believed) >= -rounding,
        "descent": rise <= rounding,
        "rise": rise,
        "rounding": rounding,
        "bound": bound,
        "slack": bound - to_target[1:],
        "distance": propositions.distances_to_minimiser(*believed),
        "residual": left[1:] / left[0].clamp(min=torch.finfo(torch.float64).tiny),
    }


def certificate(numbers: Mapping[str, Tensor], num_classes: int, objective: LocalObjective) -> Certificate:
    """Sum up what `measure` returned."""
    alphas, labels, weight = objective.alphas(len(numbers["kl"])), numbers["label"], numbers["weight"]

    def mean(values: Tensor) -> float:
        return float((values.double() * weight).sum() / weight.sum())

    def summary(values: Tensor) -> Summary:
        return Summary(mean(values), float(values.max()))

    def by_class(places: Tensor | slice) -> tuple[int, ...]:
        return tuple(torch.bincount(labels[places], minlength=num_classes).tolist())

    def stage(index: int) -> StageCertificate:
        of = {name: values[index] for name, values in numbers.items() if values.ndim == 2}
        order = of["rise"].argsort(descending=True, stable=True)
        failing = order[~of["descent"][order]]
        found: dict[str, Any] = {name: mean(of[name]) for name in ("premise", "conclusion", "descent")}
        found |= {name: summary(of[name]) for name in ("loss", "epsilon", "kl", "bound", "distance", "residual")}
        return StageCertificate(
            stage=index + 1,
            alpha=alphas[index],
            **found,
            slack=Summary(mean(of["slack"]), float(of["slack"].min())),
            mean_descends=mean(of["rise"]) <= mean(of["rounding"]),
            ideal_residual=float(propositions.ideal_residuals(alphas)[index]),
            failures=Failures(by_class(failing), tuple(failing.tolist()), tuple(of["rise"][failing].tolist())),
        )

    return Certificate(
        n=len(labels),
        class_sizes=by_class(slice(None)),
        prior_kl=summary(numbers["prior_kl"]),
        premise_everywhere=mean(numbers["premise"].all(dim=0)),
        descent_everywhere=mean(numbers["descent"].all(dim=0)),
        contradictions=int((numbers["premise"] & ~numbers["conclusion"]).sum()),
        stages=tuple(stage(index) for index in range(len(alphas))),
    )


_REVERSE = (
    "The stages minimise D(p, q) = KL(p ‖ q) against a smoothed target, as the theory has it: "
    "Propositions 1, 2 and 4 apply as the paper states them, for KL(p_i ‖ p_y)."
)
_FORWARD = (
    "The stages minimise D(p, q) = KL(q ‖ p). The paper's propositions are about KL(p ‖ q) and say nothing of this run; what is "
    "certified are their counterparts for KL(p_y ‖ p_i), which the same algebra gives, as it needs no more than D(p, p) = 0."
)
_ONE_HOT = "With one-hot targets KL(p_i ‖ p_y), the quantity of the paper, is infinite at every stage."
_SMOOTHED = "That KL(p_y ‖ p_i) falls does not imply that KL(p_i ‖ p_y), the quantity of the paper, falls too."
_IMPLICATION = (
    "Proposition 2 is an implication, sample by sample: where a stage's loss is no larger than that of handing the previous belief "
    "on, the belief has come closer to the label. That the premise holds is nowhere proven, on no data: it is measured here."
)
_HELD_OUT = "On labels that were not trained on nothing enforces the premise, and what is found is an observation."
_BOUND = "Proposition 4's bound is never below the prior's own divergence: it limits harm and promises no improvement."

_END_TO_END = "The stages were trained end to end: none of them minimised the local loss that is measured here."
_WINDOW = "A stage was trained for losses of later stages too, not for its own alone."
_LAST_EPOCH = "The stages learnt from beliefs of the epoch before; here p_{i−1} is what the previous stage believes now."
_TEMPERATURE = "The stages learnt from the previous belief softened or sharpened by a temperature, which is 1 here."
_OVER_EPOCHS = "α is that of the last epoch."
_NO_TARGET = "Where α = 0 a stage's loss does not know the label: there Propositions 2 and 4 say nothing of it."


def scope(objective: LocalObjective) -> tuple[str, ...]:
    """Return what the theory says of stages trained by this objective, and what not: no more than is proven and no less.

    arXiv 2510.03273 proves its propositions for D(p, q) = KL(p ‖ q) and targets with full support. For the other direction the
    counterparts of Propositions 2 and 4 follow by the same algebra: `L_i(p_{i−1}) = α D(p_{i−1}, p_y)` because `D(p, p) = 0`, so
    that `L_i(p_i) ≤ L_i(p_{i−1}) + ε_i` reads

        D(p_i, p_y) ≤ D(p_{i−1}, p_y) − ((1−α)/α) · D(p_i, p_{i−1}) + ε_i / α.
    """
    forward = (_FORWARD, _SMOOTHED if objective.label_smoothing else _ONE_HOT)
    return (*((_REVERSE,) if objective.direction == "reverse" else forward), _IMPLICATION, _HELD_OUT, _BOUND)


def caveats(learner: Learner) -> tuple[str, ...]:
    """Return in what the training differed from what is measured."""
    if learner.window is None:
        return (_END_TO_END,)
    objective = learner.objective or LocalObjective()
    found = {
        _WINDOW: learner.window > 1,
        _LAST_EPOCH: learner.remembers_samples,
        _TEMPERATURE: objective.temperature != 1,
        _OVER_EPOCHS: getattr(learner, "alpha_over", "stages") == "epochs",
        _NO_TARGET: 0 in objective.alphas(getattr(learner.module, "depth", 1)),
    }
    return tuple(sentence for sentence, holds in found.items() if holds)
