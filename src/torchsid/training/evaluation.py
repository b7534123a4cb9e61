"""How good every stage's belief is on a set of samples, whether it improves on the one before, and a few samples to show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchsid.core import propositions
from torchsid.core.beliefs import kl, log_target
from torchsid.core.lazy_logits import CHUNK, LazyLogits, pays
from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import NonFiniteError
from torchsid.tasks.domain import PARTS, Believe, Samples, Splits
from torchsid.tasks.numbers import Numbers, Said, errors
from torchsid.tasks.stored import Stored

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 15  # of confidence, equal in width: Guo et al. (arXiv 1706.04599)
MAX_CONFUSION = 1000  # outcomes; with more, the table of confusions is left out
SHOWN = 12
PASSAGE = 48  # tokens
_FIRST = 16  # samples of the first pass, where only that shows how many outcomes there are
_FIRST_POSITIONS = 2**10  # in them, unless it is one sample
_VALUES = 2**21  # numbers of a belief about the samples of a pass
_POSITIONS = 2**13  # of a pass whose beliefs are not computed yet
_SHOWN_VALUES = 2**24  # numbers of a belief about all samples among which those to show are found
_BEYOND_CHANCE = 2.0  # standard errors of the mean rise
_CANDIDATES = 2000  # looked through for the samples that are shown; more would only take longer


Prepare = Callable[[Tensor], Tensor]
"""From stored inputs `[N, ...]` to what a network reads, on its device."""


Predictor = Learner | Callable[[Tensor], Tensor]
"""A network with its method, or a function from a batch to the log-beliefs `[L+1, B, ..., C]`."""


@contextmanager
def answering(predictor: Predictor, prepare: Prepare) -> Iterator[Believe]:
    """Within the block the network answers as it stands, float32 on the CPU; all that a pass changes is as before behind it."""
    answer: Any = getattr(predictor, "log_beliefs", predictor)
    module: nn.Module = getattr(predictor, "module", None) or nn.Module()  # a function has none, or none that is known
    with without_side_effects(module), torch.no_grad():
        module.eval()
        yield lambda inputs: answer(prepare(inputs)).float().cpu()


def predict(predictor: Predictor, inputs: Tensor | Stored, *, prepare: Prepare, batch_size: int = 500) -> Tensor:
    """Return the log-beliefs `[L+1, N, ..., C]`; see `answering`."""
    with answering(predictor, prepare) as believe:
        return torch.cat([believe(batch) for batch in split(inputs, batch_size)], dim=1)


def tried_out(predictor: Predictor, splits: Splits, *, prepare: Prepare, parts: Sequence[str] = PARTS[1:]) -> Splits:
    """Return splits with the held-out samples that a network brings about, and their scores; others stay. See `Collector`."""
    if splits.collector is None:
        return splits
    with answering(predictor, prepare) as believe:
        found = {part: splits.collector.try_out(believe, part) for part in parts}
    samples: dict[str, Any] = {part: each for part, (each, _) in found.items()}
    return replace(splits, **samples, scores={part: scores for part, (_, scores) in found.items()})


def split(inputs: Tensor | Stored, batch_size: int) -> Iterator[Tensor]:
    """Yield stored inputs `[N, ...]` in parts of `batch_size`, in order and in memory; an empty one of none."""
    return (inputs[start : start + batch_size] for start in range(0, len(inputs) or 1, batch_size))


Beliefs = Tensor | list[LazyLogits]
"""The belief about some samples after every stage, `[L+1, B, ..., C]`."""


def believed(
    predictor: Predictor, data: Samples, *, prepare: Prepare, batch_size: int = 500, lazy: bool = True
) -> Iterator[tuple[Samples, Beliefs]]:
    """Yield all samples in parts, each with the beliefs about it; modes, buffers and random numbers stay as they were.

    Parts have `batch_size` samples, or fewer where the beliefs about so many are many numbers: then, if they can wait and `lazy`
    is not false, they are not computed yet. Sizes are the same on all workers.
    """
    module: nn.Module = getattr(predictor, "module", None) or nn.Module()
    answer: Any = getattr(predictor, "log_beliefs", predictor)
    target = data.subset(slice(1)).target[:]
    rows = target.is_floating_point()
    outcomes = target.shape[-1] if rows else getattr(module, "num_classes", None)
    positions = max(1, (target[..., 0] if rows else target).numel())
    size = _VALUES // (positions * outcomes) if outcomes else min(_FIRST, _FIRST_POSITIONS // positions)
    if lazy and outcomes and getattr(predictor, "beliefs_can_wait", False) and pays(positions * batch_size, outcomes):
        answer, size = getattr(predictor, "lazy_log_beliefs"), _POSITIONS // positions  # noqa: B009 - a function has none
    start = 0
    while start < len(data):
        part = data.take(slice(start, start := start + max(1, min(size, batch_size))))
        with without_side_effects(module), torch.no_grad():
            module.eval()
            beliefs: Beliefs = answer(prepare(part.inputs[:]))
        if isinstance(beliefs, Tensor):
            beliefs = beliefs.float().cpu()
            size = _VALUES // max(1, beliefs[0, 0].numel())
        yield part, beliefs


def evaluate(
    predictor: Predictor, samples: Samples, *, prepare: Prepare, batch_size: int = 500, numbers: Numbers | None = None
) -> dict[str, Any]:
    """Return accuracy, divergence, calibration and confusion of every belief `p_0 … p_L`, as JSON can hold them.

    Every position of a sample counts by its weight; one with weight 0 counts nowhere.

    Args:
        predictor: is put into evaluation mode meanwhile, unless it is a function.
        samples: at least one.
        prepare: from stored inputs to what the network reads, on its device.
        batch_size: samples a pass, fewer where the beliefs about them are many numbers; the result is the same for every size, up
            to rounding.
        numbers: what beliefs say where outcomes are bins of a number.

    Returns:
        `n` positions; `accuracy`, `kl` (mean KL(target ‖ p_i) in nats; for one-hot targets the negative log-likelihood), `ece`
        (expected calibration error) and `agreement` (share of positions answered as by the last stage), each `[L+1]`;
        `kl_quantiles` over the positions; of the last stage `confusion` (rows: true outcome; null for very many), `calibration`
        (mean confidence, accuracy and count of each bin; 0 where a bin is empty), `correct` (a 0 or 1 a position) and `answers`;
        where samples have a `group`, `groups`, the last stage's accuracy in each that occurs, by its number; where outcomes are
        bins of a number, its errors as `scores`, each `[L+1]` (see `torchsid.tasks.numbers.errors`). Quantiles, confusions and `n`
        count each position once.

    Raises:
        ValueError: there are no samples, or all weights are 0.
        NonFiniteError: a belief is no distribution, because the network has diverged; names the stage.
    """
    if not len(samples):
        raise ValueError("no samples to evaluate on: set data.validation above 0 or choose another split")
    parts, outcomes = [], 0
    for part, beliefs in believed(predictor, samples, prepare=prepare, batch_size=batch_size):
        outcomes = beliefs[0].shape[-1]
        parts.append((*_judge(beliefs, part, numbers), _groups(part)))
    divergence, confidence, answer, *said, truth, weight, group = (torch.cat(each, dim=-1) for each in zip(*parts, strict=True))
    if not len(truth):
        raise ValueError("no positions to evaluate on: all weights are 0")
    share, correct = weight / weight.sum(), answer == truth
    few = outcomes <= MAX_CONFUSION
    confusion = torch.bincount(truth * outcomes + answer[-1], minlength=outcomes**2).view(outcomes, outcomes) if few else None
    of_numbers = errors(Said(*said), _counted(samples, samples.value), share) if numbers and samples.value is not None else {}
    bins = [calibration(stage, right, weight) for stage, right in zip(confidence, correct, strict=True)]
    return {
        "n": len(truth),
        "accuracy": (correct * share).sum(1).tolist(),
        "kl": (divergence * share).sum(1).tolist(),
        "ece": [expected_calibration_error(stage) for stage in bins],
        "agreement": ((answer == answer[-1]) * share).sum(1).tolist(),
        **({"scores": of_numbers} if of_numbers else {}),
        "confusion": None if confusion is None else confusion.tolist(),
        "calibration": bins[-1],
        "correct": "".join("1" if right else "0" for right in correct[-1].tolist()),
        "answers": answer[-1].tolist(),
        # by NumPy, because `torch.quantile` takes 16 million values at most
        "kl_quantiles": {str(q): np.quantile(divergence, q, axis=-1, method="inverted_cdf").tolist() for q in QUANTILES},
        **({} if samples.group is None else {"groups": _in_groups(correct[-1], share, group)}),
    }


def _groups(samples: Samples) -> Tensor:
    """Return the group of each of the M positions that count, int64 `[M]`; 0 where there are none."""
    target = samples.target[:]
    where = target.shape[:-1] if target.is_floating_point() else target.shape
    group = torch.zeros(len(target), dtype=torch.int64) if samples.group is None else samples.group
    return _counted(samples, group.view(-1, *[1] * (len(where) - 1)).expand(where))


def _in_groups(correct: Tensor, share: Tensor, group: Tensor) -> dict[str, float]:
    """Return the accuracy in each group that occurs, of M positions with their shares."""
    right, whole = (torch.bincount(group, weights=each).tolist() for each in (correct * share, share))
    return {str(number): a / b for number, (a, b) in enumerate(zip(right, whole, strict=True)) if b}


def _judge(beliefs: Beliefs, samples: Samples, numbers: Numbers | None) -> Sequence[Tensor]:
    """Return divergence, confidence, answer and what is said of numbers, `[L+1, M]`, true outcome and weight `[M]`.

    M positions count.
    """

    def judge(believed: Tensor, target: Tensor) -> Sequence[Tensor]:
        best = believed.max(dim=-1)
        if target.is_floating_point():
            divergence = kl(log_target(target.double(), believed.shape[-1]), believed)
        else:
            divergence = -believed.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return divergence, best.values.exp(), best.indices, *(numbers.said(believed) if numbers else ())

    judged, target, weight = at_positions(beliefs, samples, judge)
    return *judged, outcome_of(target), weight


def _counted(samples: Samples, values: Tensor) -> Tensor:
    """Return the values `[M]` at the positions that count, of values `[N, ...]`."""
    return values.flatten() if samples.weight is None else values[samples.weight > 0]


def at_positions(
    beliefs: Beliefs, samples: Samples, measure: Callable[[Tensor, Tensor], Sequence[Tensor]]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return what is measured, `[L+1, M]` each, of beliefs `[n, C]`, float64, and targets; target and weight `[M]` besides.

    The M positions that count are taken in chunks. A belief that is no distribution is a NonFiniteError.
    """
    target = samples.target[:]
    where = target.shape[:-1] if target.is_floating_point() else target.shape
    weight = torch.ones(where) if samples.weight is None else samples.weight
    counts = weight > 0  # [B, ...]
    target, found = target[counts], list[list[Tensor]]()
    for belief in beliefs:
        rows, size = belief[counts], max(1, CHUNK // belief.shape[-1])
        parts = []
        for start in range(0, len(target) or 1, size):
            chunk = rows[start : start + size]
            log_belief = (chunk if isinstance(chunk, Tensor) else chunk.log_belief().cpu()).double()
            parts.append([log_belief.amax(-1), *measure(log_belief, target[start : start + size])])
        found.append([torch.cat(each) for each in zip(*parts, strict=True)])
    best, *measured = (torch.stack(each) for each in zip(*found, strict=True))
    refuse_diverged(best.unsqueeze(-1))
    return measured, target, weight[counts].double()


def refuse_diverged(log_beliefs: Tensor) -> None:
    """Raise `NonFiniteError` where a belief, of `[L+1, ..., C]`, is no distribution because the weights have diverged."""
    sound = log_beliefs.amax(-1).isfinite().flatten(1).all(1).tolist()
    if not all(sound):
        which = f"the belief after stage {sound.index(False)}" if len(sound) > 1 else "a belief"
        advice = "lower optimizer.learning_rate, or set optimizer.clip_gradient"
        raise NonFiniteError(f"{which} holds NaN or infinity: the weights have diverged; {advice}")


def outcome_of(target: Tensor) -> Tensor:
    """Return the outcome of each position, int64 `[...]`: of a probability row the likeliest."""
    return target.argmax(dim=-1) if target.is_floating_point() else target


def unbroken(holds: Tensor) -> Tensor:
    """Return for how many stages, back from the last, a condition (bool `[L, ...]`) has held without a break, int64 `[...]`.

    `unbroken(answers == answers[-1])` is for how many stages the final answer has stood.
    """
    return holds.flip(0).cumprod(0).sum(0)


def calibration(confidence: Tensor, correct: Tensor, weight: Tensor | None = None) -> dict[str, list[float]]:
    """Return mean confidence, accuracy and count (sum of weights) in each of the equal bins of confidence, from 0 to 1."""
    weight = torch.ones_like(confidence) if weight is None else weight
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(index, weights=weight, minlength=BINS)
    filled = torch.where(count > 0, count, 1.0)
    return {
        "confidence": (torch.bincount(index, weights=confidence * weight, minlength=BINS) / filled).tolist(),
        "accuracy": (torch.bincount(index, weights=correct * weight, minlength=BINS) / filled).tolist(),
        "count": count.tolist(),
    }


def expected_calibration_error(bins: dict[str, list[float]]) -> float:
    """Return `Σ_b n_b/N · |accuracy_b − confidence_b|` of the bins that `calibration` gave."""
    gaps = (n * abs(a - c) for n, a, c in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True))
    return sum(gaps) / sum(bins["count"])


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


def descent_of(parts: Iterable[tuple[Samples, Beliefs]], objective: LocalObjective, name: str) -> Descent:
    """Return the descent of beliefs towards the targets of their samples, over all positions that count."""

    def divergence(believed: Tensor, target: Tensor) -> Sequence[Tensor]:
        log_target = objective.log_target(target, believed.shape[-1], dtype=torch.float64)
        return [propositions.divergence(believed, log_target, objective)]

    to_target = torch.cat([at_positions(beliefs, part, divergence)[0][0] for part, beliefs in parts], dim=1)  # [L+1, M]
    rise = to_target.diff(dim=0)
    allowed = propositions.rounding(to_target)
    standard_error = rise.std(dim=1, correction=0) / rise.shape[1] ** 0.5
    rising = rise.mean(dim=1) > torch.maximum(_BEYOND_CHANCE * standard_error, allowed.mean(dim=1))
    return Descent(
        shares=(rise <= allowed).double().mean(dim=1).tolist(),
        means=to_target.mean(dim=1).tolist(),
        rising=[stage for stage, rises in enumerate(rising.tolist(), 1) if rises],
        samples=name,
    )


def objective_of(learner: Learner) -> LocalObjective:
    """Return what each stage minimises; of a network trained end to end, what its stages are compared by.

    The temperature is 1 whatever the learner's, because the propositions say nothing of another.
    """
    return replace(learner.objective or LocalObjective(), temperature=1.0)


def samples_to_show(predictor: Learner, data: Samples, *, prepare: Prepare, whole: Samples | None = None) -> dict[str, Tensor]:
    """Return a few samples, chosen to show how beliefs move; nothing where another worker has the beliefs.

    They are `inputs`, `target` and, where there is one, `weight` `[n, ...]`, `log_beliefs` `[L+1, n, ..., C]`, and `indices` `[n]`
    within the data. `whole` has the inputs that are blank in `data` because another worker reads them.
    """
    found: list[Tensor] = []
    for _, beliefs in believed(predictor, data.subset(slice(_CANDIDATES)), prepare=prepare, lazy=False):
        assert isinstance(beliefs, Tensor)
        found.append(beliefs)
        if sum(each[0].numel() for each in found) > _SHOWN_VALUES:
            break
    log_beliefs = torch.cat(found, dim=1)
    if len(log_beliefs) < 2:  # of several workers, all of which are needed to predict, one sees the beliefs
        return {}
    candidates = data.subset(slice(log_beliefs.shape[1]))
    chosen = choose(log_beliefs, candidates, SHOWN)
    shown, beliefs = (whole or data).take(chosen), log_beliefs[:, chosen].contiguous()
    weight = {} if shown.weight is None else {"weight": shown.weight}
    return {"inputs": shown.inputs[:], "target": shown.target[:], "log_beliefs": beliefs, "indices": chosen, **weight}


def passage_to_show(predictor: Predictor, data: Samples, *, prepare: Prepare, whole: Samples | None = None) -> dict[str, Tensor]:
    """Return what was believed of the last tokens of a window in the middle; nothing where another worker has the beliefs.

    They are `target`, the P tokens, and of every belief the likeliest token, `guess`, and the log-probabilities of both,
    `log_guess` and `log_target`, each `[L+1, P]`: of 50,000 outcomes whole beliefs would be too much to keep.
    """

    def measure(believed: Tensor, target: Tensor) -> Sequence[Tensor]:
        best = believed.max(dim=-1)
        return best.indices, best.values, believed.gather(-1, target.unsqueeze(-1)).squeeze(-1)

    middle = (len(data) - 1) // 2
    ((part, beliefs),) = believed(predictor, data.subset(slice(middle, middle + 1)), prepare=prepare)
    if len(beliefs) < 2:
        return {}
    (guess, *logs), target, _ = at_positions(beliefs, part, measure)
    guess, log_guess, log_target = (each[:, -PASSAGE:].contiguous() for each in (guess, *(log.float() for log in logs)))
    return {"target": target[-PASSAGE:], "guess": guess, "log_guess": log_guess, "log_target": log_target}


def choose(log_beliefs: Tensor, data: Samples, count: int) -> Tensor:
    """Return indices of up to `count` samples, int64 ascending: a third each decided early, decided late, and wrong.

    A stage decides when no later one changes the answer at a position that counts. Within a third the order of the data set
    counts, except that the latest decisions come first; a third that is short is filled up from the others.
    """
    answers = log_beliefs[1:].argmax(dim=-1)  # [L, N, ...]
    ignored = torch.zeros_like(answers[0], dtype=torch.bool) if data.weight is None else data.weight == 0
    stands, right = (
        (same | ignored).unsqueeze(-1).flatten(-answers[0].dim()).all(-1)  # over the positions
        for same in (answers == answers[-1], answers[-1] == outcome_of(data.target[:]))
    )
    stood = unbroken(stands)  # [N]: for how many stages
    late, by_lateness = stood < len(answers), stood.argsort(stable=True)
    thirds = [(right & ~late).nonzero().flatten(), by_lateness[(right & late)[by_lateness]], (~right).nonzero().flatten()]
    rest = [third[count // 3 :] for third in thirds]
    return torch.cat([*(third[: count // 3] for third in thirds), *rest])[:count].sort().values
