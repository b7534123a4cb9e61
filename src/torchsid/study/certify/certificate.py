"""A certificate: for every stage, on which share of some labelled samples the statements of the theory hold, and where they fail.

Samples are, more exactly, the positions that count: of a classifier each sample has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torchsid.core.objective import LocalObjective
from torchsid.core.propositions import error_bounds, ideal_residuals, rounding
from torchsid.study.certify.samples import SampleNumbers, measure
from torchsid.study.positions import Flat, flatten, outcomes
from torchsid.tasks import Samples
from torchsid.training.evaluation import Predictor, predict


@dataclass(frozen=True)
class Summary:
    """A number over samples: its mean, and the worst of them."""

    mean: float
    worst: float


@dataclass(frozen=True)
class Failures:
    """The samples whose belief a stage took further from the target."""

    by_class: tuple[int, ...]
    """How many of each class, by the labels that were put in."""
    samples: tuple[int, ...]
    """Their places among those that count, of a classifier in the split; the largest rise first."""
    rises: tuple[float, ...]
    """How far `D(p_i, p_y)` rose for each of them, nats."""


@dataclass(frozen=True)
class StageCertificate:
    """What holds at one stage; shares are of samples, divergences in nats."""

    stage: int
    """Counted from 1."""
    alpha: float
    """Weight of the target in its loss."""
    loss: Summary
    """`L_i(p_i)`."""
    epsilon: Summary
    """`ε_i = max(0, L_i(p_i) − L_i(p_{i−1}))`."""
    kl: Summary
    """`D(p_i, p_y)`, the divergence to the target."""
    premise: float
    """Share for which `L_i(p_i) ≤ L_i(p_{i−1})`: the premise of Proposition 2."""
    conclusion: float
    """Share for which its conclusion holds, the term for the distance moved included."""
    descent: float
    """Share whose divergence to the target did not grow."""
    mean_descends: bool
    """Whether the mean divergence to the target did not grow."""
    bound: Summary
    """Proposition 4's bound on `D(p_i, p_y)`; the worst is the largest."""
    slack: Summary
    """The bound less what it bounds; the worst is the least, which theory forbids to be negative."""
    distance: Summary
    """`L_i(p_i) − min L_i`: divergence from the closed-form minimiser (Proposition 1)."""
    residual: Summary
    """What is left of the prior's gap to the target, as a share of it."""
    ideal_residual: float
    """What ideal stages leave of it, `Π_{j≤i} (1 − α_j)`."""
    failures: Failures
    """Where the divergence to the target grew."""


@dataclass(frozen=True)
class Certificate:
    """What holds on some samples with some labels."""

    n: int
    """How many samples."""
    class_sizes: tuple[int, ...]
    """How many of each class, by the labels that were put in."""
    prior_kl: Summary
    """`D(p_0, p_y)`."""
    premise_everywhere: float
    """Share of samples for which the premise of Proposition 2 holds at every stage."""
    descent_everywhere: float
    """Share of samples whose divergence to the target grows at no stage."""
    contradictions: int
    """How often, over samples and stages, the premise of Proposition 2 holds without its conclusion: never, if all is right."""
    stages: tuple[StageCertificate, ...]
    """Stages 1 … L."""


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

    Args:
        predictor: a learner, which is put into evaluation mode meanwhile, or a function from a batch to log-beliefs
            `[L+1, B, ..., C]`.
        samples: at least one; positions of weight 0 count nowhere.
        objective: what each stage minimises; its temperature is taken as 1, of which alone the propositions speak.
        prepare: from stored inputs to what the network reads, on its device.
        batch_size: samples a pass; the result is the same for every size, up to rounding.
        onlooker: is shown every batch with each set of labels, so that one pass serves several.

    Raises:
        TargetError: a label is no class of the network, or the target lacks the full support that `reverse` needs.
    """
    objective = replace(objective, temperature=1.0)
    targets = {"given": samples.target}
    if samples.clean_target is not None and not torch.equal(samples.target, samples.clean_target):
        targets["clean"] = samples.clean_target
    parts: dict[str, list[tuple[SampleNumbers, Flat]]] = {name: [] for name in targets}
    num_classes = 0
    for start in range(0, len(samples), batch_size):
        batch = slice(start, start + batch_size)
        log_beliefs = predict(predictor, samples.inputs[batch], prepare=prepare, batch_size=batch_size)  # [L+1, B, ..., C]
        num_classes = log_beliefs.shape[-1]
        weight = None if samples.weight is None else samples.weight[batch]
        flat = {name: flatten(log_beliefs, target[batch], weight) for name, target in targets.items()}
        flat = {name: each._replace(sample=each.sample + start) for name, each in flat.items()}
        if onlooker:
            onlooker(flat)
        for name, each in flat.items():
            numbers = measure(each.log_beliefs, each.target, objective)
            parts[name].append((numbers, each._replace(log_beliefs=each.weight)))  # the beliefs of all would be too many
    return {
        name: certificate(
            SampleNumbers.joined([numbers for numbers, _ in found]),
            torch.cat([outcomes(each.target) for _, each in found]),
            num_classes,
            objective,
            weight=torch.cat([each.weight for _, each in found]),
        )
        for name, found in parts.items()
    }


def certificate(
    numbers: SampleNumbers, labels: Tensor, num_classes: int, objective: LocalObjective, *, weight: Tensor | None = None
) -> Certificate:
    """Sum up the numbers of P positions with labels `[P]` and weights `[P]`, which are 1 by default."""
    weight = torch.ones(len(labels), dtype=torch.float64) if weight is None else weight
    alphas = objective.alphas(len(numbers.loss))
    epsilon = numbers.excess.clamp(min=0)
    bound = error_bounds(numbers.to_target, epsilon, alphas)
    slack = bound - numbers.to_target[1:]
    share_left = numbers.residual[1:] / numbers.residual[0].clamp(min=torch.finfo(torch.float64).tiny)

    def mean(values: Tensor) -> float:
        return float((values.double() * weight).sum() / weight.sum())

    def largest(values: Tensor) -> Summary:
        return Summary(mean(values), float(values.max()))

    def stage(index: int, alpha: float) -> StageCertificate:
        return StageCertificate(
            stage=index + 1,
            alpha=alpha,
            loss=largest(numbers.loss[index]),
            epsilon=largest(epsilon[index]),
            kl=largest(numbers.to_target[index + 1]),
            premise=mean(numbers.premise[index]),
            conclusion=mean(numbers.conclusion[index]),
            descent=mean(numbers.descends[index]),
            mean_descends=mean(numbers.rise[index]) <= mean(rounding(numbers.to_target)[index]),
            bound=largest(bound[index]),
            slack=Summary(mean(slack[index]), float(slack[index].min())),
            distance=largest(numbers.distance[index]),
            residual=largest(share_left[index]),
            ideal_residual=float(ideal_residuals(alphas)[index]),
            failures=_failures(numbers.rise[index], numbers.descends[index], labels, num_classes),
        )

    return Certificate(
        n=len(labels),
        class_sizes=_counts(labels, num_classes),
        prior_kl=largest(numbers.to_target[0]),
        premise_everywhere=mean(numbers.premise.all(dim=0)),
        descent_everywhere=mean(numbers.descends.all(dim=0)),
        contradictions=int((numbers.premise & ~numbers.conclusion).sum()),
        stages=tuple(stage(index, alpha) for index, alpha in enumerate(alphas)),
    )


def _failures(rise: Tensor, descends: Tensor, labels: Tensor, num_classes: int) -> Failures:
    order = rise.argsort(descending=True, stable=True)
    failing = order[~descends[order]]
    return Failures(_counts(labels[failing], num_classes), tuple(failing.tolist()), tuple(rise[failing].tolist()))


def _counts(labels: Tensor, num_classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(labels, minlength=num_classes).tolist())
