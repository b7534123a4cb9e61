"""Which training labels are probably wrong, from how the belief in them grew over the stages.

A label that the sample supports is believed from the first stages on. A label that was only memorised is believed late, weakly, or
not at all. The score of a sample is the mean over the stages of the margin of its label,

    s = 1/L Σ_i ( p_i(y) − max_{c≠y} p_i(c) )   in [−1, 1],

so that every stage has one vote, which counts as much as the stage is sure. It is the area under the margin (G. Pleiss et al.,
arXiv 2001.10528) over stages instead of epochs, which needs one trained network and no record of its training.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchsid.show.page import Card, Cards, Code, Page, Section
from torchsid.show.tables import Table
from torchsid.study.positions import flatten
from torchsid.study.statistics import scipy_stats
from torchsid.tasks import Samples
from torchsid.training.evaluation import Predictor, Prepare, predict, unbroken

CHUNK = 2000  # samples whose beliefs are in memory at a time


class Verdicts(NamedTuple):
    """What the stages think of each sample's label; each `[N]`."""

    score: Tensor
    """Mean margin of the given label in [−1, 1], float; the lower, the likelier it is wrong."""
    suggested: Tensor
    """The class with the largest mean belief over the stages, int64; the given one for labels that seem right."""
    agrees_from: Tensor
    """The stage (from 1) from which on the answer is the given label, L + 1 when the last stage disagrees; int64."""
    log_belief: Tensor
    """Of the last stage, `[N, C]`, float32."""


def judge(log_beliefs: Tensor, labels: Tensor) -> Verdicts:
    """Return the verdicts on labels (int64 `[N]`) from log-beliefs `[L+1, N, C]`, row 0 of which is the prior."""
    beliefs = log_beliefs[1:].exp()  # [L, N, C]
    given = labels.expand(len(beliefs), -1).unsqueeze(-1)  # [L, N, 1]
    margin = beliefs.gather(-1, given).squeeze(-1) - beliefs.scatter(-1, given, -1.0).amax(-1)  # [L, N]
    return Verdicts(
        score=margin.mean(0),
        suggested=beliefs.mean(0).argmax(-1),
        agrees_from=len(beliefs) + 1 - unbroken(beliefs.argmax(-1) == labels),
        log_belief=log_beliefs[-1],
    )


def audit(predictor: Predictor, samples: Samples, *, prepare: Callable[[Tensor], Tensor], last_alone: bool = False) -> Verdicts:
    """Return the verdicts on the labels of samples, in their order; of every position that counts.

    The predictor, a trained learner, is put into evaluation mode meanwhile; for `last_alone` see `beliefs_that_judge`.
    """
    found = []
    for start in range(0, len(samples), CHUNK):
        part = samples.take(slice(start, start + CHUNK))
        log_beliefs = beliefs_that_judge(predictor, part.inputs[:], prepare=prepare, last_alone=last_alone)
        flat = flatten(log_beliefs, part.target[:], part.weight)
        found.append(judge(flat.log_beliefs, flat.outcome))
    return Verdicts(*(torch.cat(parts) for parts in zip(*found, strict=True)))


class Judge(NamedTuple):
    """A network, and which samples it judges."""

    predictor: Predictor
    prepare: Prepare
    places: Tensor
    """Of the samples, int64 `[n]`."""


def audit_by(jury: Sequence[Judge], samples: Samples, *, last_alone: bool = False) -> Verdicts:
    """Return the verdicts on samples `[N]`, each of which one judge of the jury judges, in their order; see `audit`."""
    parts = [audit(own.predictor, samples.subset(own.places), prepare=own.prepare, last_alone=last_alone) for own in jury]
    order = torch.cat([own.places for own in jury]).argsort()
    return Verdicts(*(torch.cat(each)[order] for each in zip(*parts, strict=True)))


def beliefs_by(jury: Sequence[Judge], samples: Samples, places: Sequence[int], *, last_alone: bool = False) -> Tensor:
    """Return the log-beliefs `[L+1, n, C]` of the judge of each of some places; see `beliefs_that_judge`."""
    wanted = torch.tensor(places)
    found: dict[int, Tensor] = {}
    for own in jury:
        here = wanted[torch.isin(wanted, own.places)]
        if len(here):
            beliefs = beliefs_that_judge(own.predictor, samples.inputs[here], prepare=own.prepare, last_alone=last_alone)
            found |= dict(zip(here.tolist(), beliefs.unbind(1), strict=True))
    return torch.stack([found[place] for place in places], dim=1)


def beliefs_that_judge(
    predictor: Predictor, inputs: Tensor, *, prepare: Callable[[Tensor], Tensor], last_alone: bool = False
) -> Tensor:
    """Return the log-beliefs `[L+1, N, ..., C]` about inputs, row 0 of which is the prior.

    With `last_alone` they are the prior and the last belief, as of one stage: for networks whose other stages were not trained to
    answer.
    """
    log_beliefs = predict(predictor, inputs, prepare=prepare)
    return log_beliefs[[0, -1]] if last_alone else log_beliefs


def rankings(verdicts: Verdicts, labels: Tensor) -> dict[str, Tensor]:
    """Return the scores `[N]` to compare, lowest first to be looked at; cleanlab's own where it is installed."""
    scores = {
        "margin over stages": verdicts.score,
        "last margin": judge(verdicts.log_belief.expand(2, -1, -1), labels).score,
        "last self-confidence": verdicts.log_belief.exp().gather(-1, labels.unsqueeze(-1)).squeeze(-1),
    }
    try:
        rank = import_module("cleanlab.rank")
    except ImportError:
        return scores
    probabilities = verdicts.log_belief.double().softmax(-1).numpy()
    for method in ("normalized_margin", "self_confidence"):
        quality = rank.get_label_quality_scores(labels.numpy(), probabilities, method=method)
        scores[f"cleanlab {method}"] = torch.from_numpy(quality)
    return scores


def detection(scores: Mapping[str, Tensor], wrong: Tensor) -> dict[str, dict[str, float]]:
    """Return how well each score finds the labels that are wrong (bool `[N]`).

    Returns:
        For each score: `auroc`, the probability that a wrong label scores lower than a right one, ties counting half;
        `precision_at_k`, the share of wrong labels among the k lowest scores, k being the number of wrong ones, so that it is the
        recall at k as well; `recall_at_2k`, the share of them that lies in the 2k lowest.

    Raises:
        ValueError: all labels are wrong, or none.
    """
    rankdata, k, found = scipy_stats().rankdata, int(wrong.sum()), {}
    if not 0 < k < len(wrong):
        raise ValueError(f"{k} of {len(wrong)} labels are wrong; AUROC compares the wrong ones with the others")
    for name, score in scores.items():
        sorted_wrong = wrong[score.argsort(stable=True)].double()
        found[name] = {
            "auroc": float(1 - (rankdata(score)[wrong].mean() - (k + 1) / 2) / (len(wrong) - k)),  # Mann and Whitney's U
            "precision_at_k": float(sorted_wrong[:k].mean()),
            "recall_at_2k": float(sorted_wrong[: 2 * k].sum() / k),
        }
    return found


def disputes(verdicts: Verdicts, labels: Tensor, clean: Tensor | None) -> dict[str, Any]:
    """Return how many labels `[N]` the stages dispute: those for which another class has the larger mean belief.

    Returns:
        `disputed`; with clean labels also `wrong` (how many labels are), `precision` and `recall` of the disputes, and
        `corrected`, the share of the rightly disputed ones whose suggested class is the true one. A share of nothing is None.
    """
    disputed = verdicts.suggested != labels
    if clean is None:
        return {"disputed": int(disputed.sum())}
    wrong = labels != clean
    found = disputed & wrong
    return {
        "disputed": int(disputed.sum()),
        "wrong": int(wrong.sum()),
        "precision": _share(found, disputed),
        "recall": _share(found, wrong),
        "corrected": _share(found & (verdicts.suggested == clean), found),
    }


def _share(some: Tensor, of: Tensor) -> float | None:
    return int(some.sum()) / int(of.sum()) if bool(of.any()) else None


def audit_page(cards: Sequence[Card], tables: Sequence[Table], *, title: str, subtitle: str, command: str) -> Page:
    """Return the page of an audit: what was found in all samples, and the most suspicious ones in their order."""
    found = "A label is disputed where the stages believe more in another class, which they suggest."
    rivers = (
        "A river goes from the prior through every stage: the belief in the label given rises from below, in green, above it lie "
        "those in other classes."
    )
    sections = [
        Section("found", "What was found", found, tables),
        Section("samples", "The most suspicious", rivers, [Cards("", cards)]),
        Section("repeat", "To repeat it", "", [Code("", command)]),
    ]
    return Page(title, subtitle, sections)
