"""What anytime inference answers and costs: measured for one rule, and calibrated over all thresholds."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchsid.anytime import EarlyExit, ExitRule, Measure, confidence
from torchsid.core.beliefs import entropy
from torchsid.core.cascade import Cascade
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import OwnHead, StagedCascade
from torchsid.heads.cost import counting_multiply_adds
from torchsid.tasks import Samples
from torchsid.tasks.numbers import Numbers
from torchsid.training.evaluation import at_positions, believed, split

LOSSES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # of accuracy on the validation samples, that a threshold may cost


@dataclass(frozen=True)
class Operations:
    """Multiply-adds a sample, heads included."""

    stages: tuple[int, ...]
    """Of each stage; those of a shared extractor belong to the first."""
    inference: int
    """Of the ordinary pass, which leaves out heads that the deployed network does without."""

    def share(self, computed: Tensor) -> float:
        """Return what samples that ran `computed` stages (int64 `[N]`) cost on average, as a share of the ordinary pass."""
        total = torch.tensor(self.stages, dtype=torch.float64).cumsum(0)
        return float(total[computed.cpu() - 1].mean() / self.inference)


def operations(cascade: Cascade, example: Tensor) -> Operations:
    """Return what each stage costs; `example` is a small batch. A staged cascade without a plan is a ValueError."""
    if isinstance(cascade, StagedCascade):
        if cascade.plan is None:
            raise ValueError("this cascade has no plan, which lists what its stages cost: build it by torchsid.staged_cascade")
        stages = [stage.operations + stage.head_operations for stage in cascade.plan.stages]
        alone = isinstance(cascade.heads[-1], OwnHead)
        return Operations(tuple(stages), sum(stage.operations for stage in cascade.plan.stages) if alone else sum(stages))
    totals: list[int] = []
    with counting_multiply_adds(cascade) as so_far:
        cascade.refine(example, on_belief=lambda *_: totals.append(so_far() // len(example)))
    totals[0] = 0  # of the prior, before which an extractor has run
    return Operations(tuple(after - before for before, after in pairwise(totals)), totals[-1])


def measure_exits(
    early: EarlyExit,
    data: Samples,
    *,
    prepare: Callable[[Tensor], Tensor],
    batch_size: int = 500,
    numbers: Numbers | None = None,
) -> dict[str, Any]:
    """Run early exit on samples and return what came of it, as JSON can hold it; the cascade is in evaluation mode meanwhile.

    Of samples with several positions each is one of its own, as when a text is continued: what was computed for one does not help
    the others.

    Returns:
        `rule`, `n`, `accuracy`, at positions `kl` in nats; `average_depth` (stage of exit) and `average_computed` (stages that
        ran); `exits`, for each stage the share of samples that left there, and their accuracy (None where there is none);
        `operations`, the share of the multiply-adds of ordinary inference; `whole_batches`, see `EarlyExit`. Where outcomes are
        bins of a number, which `numbers` are, `mae` takes the place of the accuracy.

    Raises:
        ValueError: there are no samples, or their targets are probabilities.
    """
    if not len(data.target):
        raise ValueError("no samples to measure early exit on: choose another split")
    if data.target[:1].is_floating_point() and numbers is None:
        _check_single(data.target[:])
    cascade, parts, kl = early.cascade, [], dict[str, float]()
    judged = "mae" if numbers else "accuracy"
    with without_side_effects(cascade):
        cascade.eval()
        if data.target[:1].ndim > 1 and numbers is None:
            right, depth, loss = _at_positions(early, data, prepare)
            computed, kl = depth, {"kl": float(loss.mean())}
        else:
            for inputs in split(data.inputs, batch_size):
                answer = early(prepare(inputs))
                said = numbers.bins.mean(answer.log_belief.double()) if numbers else answer.log_belief.argmax(-1)
                parts.append((said.cpu(), answer.depth.cpu(), answer.computed.cpu()))
            predictions, depth, computed = map(torch.cat, zip(*parts, strict=True))
            right = (predictions == data.target[:]).double() if data.value is None else (predictions - data.value).abs()
        cost = operations(cascade, prepare(data.inputs[:2]))
    here = [depth == stage for stage in range(1, cascade.depth + 1)]
    return {
        "rule": str(early.rule),
        "n": len(right),
        judged: float(right.mean()),
        **kl,
        "average_depth": float(depth.double().mean()),
        "average_computed": float(computed.double().mean()),
        "exits": [
            {"stage": i, "share": float(at.double().mean()), judged: float(right[at].mean()) if at.any() else None}
            for i, at in enumerate(here, 1)
        ],
        "operations": cost.share(computed),
        "whole_batches": early.whole_batches,
    }


def _at_positions(early: EarlyExit, data: Samples, prepare: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each of the M positions that count whether its answer is right, the stage that gave it, and its loss, `[M]`."""

    def measure(log_belief: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        right = log_belief.argmax(-1) == target
        return early.rule(log_belief), right, -log_belief.gather(-1, target.unsqueeze(-1)).squeeze(-1)

    parts = [
        at_positions(beliefs, part, measure)[0] for part, beliefs in believed(early.cascade.log_beliefs, data, prepare=prepare)
    ]
    sure, right, loss = (torch.cat(each, dim=1)[1:] for each in zip(*parts, strict=True))  # [L, M]
    sure[-1] = True
    depth = sure.int().argmax(0)
    place = torch.arange(len(depth))
    return right[depth, place].double(), depth + 1, loss[depth, place]


def _check_single(target: Tensor) -> None:
    if target.ndim > 1:
        raise ValueError(f"targets of shape {list(target.shape)}: early exit is measured where a sample has one outcome, `[N]`")


class ExitSweep(NamedTuple):
    """Early exit at every threshold that makes a difference, from the loosest on; each `[T]`, float64."""

    threshold: Tensor
    accuracy: Tensor
    depth: Tensor
    """On average; rises from 1 to L."""


def sweep(log_beliefs: Tensor, labels: Tensor, measure: Measure) -> ExitSweep:
    """Return accuracy and average depth at all thresholds, exactly, from log-beliefs `[L+1, N, C]` and labels `[N]`.

    A sample leaves stage i < L for the next one where the threshold reaches the most that it was sure up to i. In the order of
    these N·(L−1) thresholds each adds 1/N to the depth, and to the accuracy whatever the next stage knows better.
    """
    right = (log_beliefs[1:].argmax(-1) == labels).double()  # [L, N]
    count = len(labels)
    sure = confidence(log_beliefs[1:-1]) if measure == "confidence" else -entropy(log_beliefs[1:-1])
    reached, order = sure.cummax(0).values.flatten().sort()  # [(L−1)·N]
    first = reached[:1].nextafter(torch.full_like(reached[:1], -torch.inf))  # where every sample is sure at stage 1
    accuracy = torch.cat([right[:1].sum(1), (right[1:] - right[:-1]).flatten()[order]]).cumsum(0) / count
    depth = 1 + torch.arange(len(accuracy), dtype=torch.float64) / count
    threshold = torch.cat([first if len(first) else first.new_zeros(1), reached]).double()
    last = torch.cat([threshold.diff() != 0, torch.tensor([True])])  # of each group of equal thresholds: all of them count
    threshold = threshold if measure == "confidence" else -threshold
    return ExitSweep(threshold[last], accuracy[last], depth[last])


def exit_depth(log_beliefs: Tensor, rule: ExitRule) -> Tensor:
    """Return the stage at which each sample of `[L+1, N, C]` is sure, L for those that never are; int64 `[N]`."""
    sure = torch.stack([rule(log_belief) for log_belief in log_beliefs[1:]])
    sure[-1] = True
    return sure.int().argmax(0) + 1


def exit_curve(
    validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], measure: Measure, cost: Operations
) -> dict[str, Any]:
    """Return accuracy against average depth on test samples, at thresholds that the validation samples chose.

    For every allowed loss δ of `LOSSES`: the loosest threshold with which the accuracy on the validation samples is at least that
    of the last stage, less δ. Both are log-beliefs `[L+1, N, C]` and labels `[N]`.

    Returns:
        `measure`, `validation_n`, `test_n`, and `points`, one for each δ: `loss`, `rule`, `threshold`, and for `validation` and
        `test` each `accuracy` and `average_depth`; for `test` also `operations`, the share of the multiply-adds of ordinary
        inference when every sample leaves its batch.

    Raises:
        ValueError: samples have several positions.
    """
    for _, labels in (validation, test):
        _check_single(labels)
    found = sweep(*validation, measure)
    log_beliefs, labels = test
    full, points = float(found.accuracy[-1]), []
    for loss in LOSSES:
        enough = (found.accuracy >= full - loss - 1e-9).nonzero()[0, 0]
        rule = ExitRule(measure, float(found.threshold[enough]))
        depth = exit_depth(log_beliefs, rule)
        answers = log_beliefs[depth, torch.arange(len(labels))].argmax(-1)
        chosen = {"accuracy": float(found.accuracy[enough]), "average_depth": float(found.depth[enough])}
        measured = {"accuracy": float((answers == labels).double().mean()), "average_depth": float(depth.double().mean())}
        own = {"loss": loss, "rule": str(rule), "threshold": rule.threshold, "validation": chosen}
        points.append(own | {"test": measured | {"operations": cost.share(depth)}})
    return {"measure": measure, "validation_n": len(validation[1]), "test_n": len(labels), "points": points}
