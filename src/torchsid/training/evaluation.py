"""How good every stage's belief is on a set of samples, whether it improves on the one before, and a few samples to show."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchsid.core import propositions
from torchsid.core.beliefs import kl, log_target
from torchsid.core.learner import Learner
from torchsid.core.objective import LocalObjective
from torchsid.core.side_effects import without_side_effects
from torchsid.errors import NonFiniteError
from torchsid.tasks.domain import Samples
from torchsid.tasks.stored import Stored

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 15  # of confidence, equal in width: Guo et al. (arXiv 1706.04599)
MAX_CONFUSION = 1000  # outcomes; with more, the table of confusions is left out
SHOWN = 12
_FIRST = 16  # samples of the first pass, which shows how much a sample's beliefs are
_VALUES = 2**23  # numbers of beliefs that are judged at once
_BEYOND_CHANCE = 2.0  # standard errors of the mean rise
_CANDIDATES = 2000  # looked through for the samples that are shown; more would only take longer


Prepare = Callable[[Tensor], Tensor]
"""From stored inputs `[N, ...]` to what a network reads, on its device."""


Predictor = Learner | Callable[[Tensor], Tensor]
"""A network with its method, or a function from a batch to the log-beliefs `[L+1, B, ..., C]`."""


def predict(predictor: Predictor, inputs: Tensor | Stored, *, prepare: Prepare, batch_size: int = 500) -> Tensor:
    """Return the log-beliefs `[L+1, N, ..., C]`, float32 on the CPU; modes, buffers and random numbers stay as they were."""
    answer: Any = getattr(predictor, "log_beliefs", predictor)
    module: nn.Module = getattr(predictor, "module", None) or nn.Module()  # a function has none, or none that is known
    with without_side_effects(module), torch.no_grad():
        module.eval()
        parts = [answer(prepare(batch)).float().cpu() for batch in split(inputs, batch_size)]
    return torch.cat(parts, dim=1)


def split(inputs: Tensor | Stored, batch_size: int) -> Iterator[Tensor]:
    """Yield stored inputs `[N, ...]` in parts of `batch_size`, in order and in memory; an empty one of none."""
    return (inputs[start : start + batch_size] for start in range(0, len(inputs) or 1, batch_size))


def evaluate(predictor: Predictor, samples: Samples, *, prepare: Prepare, batch_size: int = 500) -> dict[str, Any]:
    """Return accuracy, divergence, calibration and confusion of every belief `p_0 … p_L`, as JSON can hold them.

    Every position of a sample counts by its weight; one with weight 0 counts nowhere.

    Args:
        predictor: is put into evaluation mode meanwhile, unless it is a function.
        samples: at least one.
        prepare: from stored inputs to what the network reads, on its device.
        batch_size: samples a pass, fewer where the beliefs about them are many numbers; the result is the same for every size, up
            to rounding.

    Returns:
        `n` positions; `accuracy`, `kl` (mean KL(target ‖ p_i) in nats; for one-hot targets the negative log-likelihood) and `ece`
        (expected calibration error), each `[L+1]`; `kl_quantiles` over the positions; of the last stage `confusion` (rows: true
        outcome; null for very many), `calibration` (mean confidence, accuracy and count of each bin; 0 where a bin is empty),
        `correct` (a 0 or 1 a position) and `answers`. Quantiles, confusions and `n` count each position once.

    Raises:
        ValueError: there are no samples, or all weights are 0.
        NonFiniteError: a belief is no distribution, because the network has diverged; names the stage.
    """
    if not len(samples):
        raise ValueError("no samples to evaluate on: set data.validation above 0 or choose another split")
    parts, outcomes, start, size = [], 0, 0, min(batch_size, _FIRST)
    while start < len(samples):
        part = samples.take(slice(start, start + size))
        log_beliefs = predict(predictor, part.inputs, prepare=prepare, batch_size=size)
        outcomes, start = log_beliefs.shape[-1], start + size
        parts.append(_judge(log_beliefs, part))
        size = max(1, min(batch_size, _VALUES * len(part) // log_beliefs.numel()))
    divergence, confidence, answer, truth, weight = (torch.cat(each, dim=-1) for each in zip(*parts, strict=True))
    if not len(truth):
        raise ValueError("no positions to evaluate on: all weights are 0")
    share, correct = weight / weight.sum(), answer == truth
    few = outcomes <= MAX_CONFUSION
    confusion = torch.bincount(truth * outcomes + answer[-1], minlength=outcomes**2).view(outcomes, outcomes) if few else None
    bins = [calibration(stage, right, weight) for stage, right in zip(confidence, correct, strict=True)]
    return {
        "n": len(truth),
        "accuracy": (correct * share).sum(1).tolist(),
        "kl": (divergence * share).sum(1).tolist(),
        "ece": [expected_calibration_error(stage) for stage in bins],
        "confusion": None if confusion is None else confusion.tolist(),
        "calibration": bins[-1],
        "correct": "".join("1" if right else "0" for right in correct[-1].tolist()),
        "answers": answer[-1].tolist(),
        # by NumPy, because `torch.quantile` takes 16 million values at most
        "kl_quantiles": {str(q): np.quantile(divergence, q, axis=-1, method="inverted_cdf").tolist() for q in QUANTILES},
    }


def _judge(log_beliefs: Tensor, samples: Samples) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return divergence, confidence and answer `[L+1, M]`, true outcome and weight `[M]` of the M positions that count."""
    weight = torch.ones(log_beliefs.shape[1:-1]) if samples.weight is None else samples.weight
    counts = weight > 0  # [B, ...]
    believed, target = log_beliefs[:, counts].double(), samples.target[counts]  # [L+1, M, C], [M] or [M, C]
    refuse_diverged(believed)
    best = believed.max(dim=-1)
    if target.is_floating_point():
        divergence = kl(log_target(target.double(), believed.shape[-1]), believed)
    else:
        divergence = -believed.gather(-1, target.expand(len(believed), -1).unsqueeze(-1)).squeeze(-1)
    return divergence, best.values.exp(), best.indices, outcome_of(target), weight[counts].double()


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


def descent_of(log_beliefs: Tensor, samples: Samples, objective: LocalObjective, name: str) -> Descent:
    """Return the descent of beliefs `[L+1, N, ..., C]` towards the target of the samples, over all positions that count."""
    counts = slice(None) if samples.weight is None else samples.weight > 0
    log_target = objective.log_target(samples.target[counts], log_beliefs.shape[-1], dtype=torch.float64)
    believed = log_beliefs[:, counts].double()
    refuse_diverged(believed)
    to_target = propositions.divergence(believed, log_target, objective)
    to_target = to_target.flatten(1)  # [L+1, M] of the M positions
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

    They are `inputs` and `target` `[n, ...]`, `log_beliefs` `[L+1, n, ..., C]`, and `indices` `[n]` within the data. `whole` has
    the inputs that are blank in `data` because another worker reads them.
    """
    candidates = data.subset(slice(_CANDIDATES))
    log_beliefs = predict(predictor, candidates.inputs, prepare=prepare)
    if len(log_beliefs) < 2:  # of several workers, all of which are needed to predict, one sees the beliefs
        return {}
    chosen = choose(log_beliefs, candidates, SHOWN)
    shown, beliefs = (whole or data).take(chosen), log_beliefs[:, chosen].contiguous()
    return {"inputs": shown.inputs[:], "target": shown.target[:], "log_beliefs": beliefs, "indices": chosen}


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
