"""What a cascade answers to every sample of a split, stage by stage: all that its pictures need, in a size that fits any split.

Of the beliefs `[L+1, P, C]`, which may be too many to hold, there remain the answers, their probabilities, the probabilities of
the labels, and the mean belief about every class. P are the positions that count: of a classifier, the samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from torchsid.study.positions import Flat, settled


@dataclass(frozen=True)
class Answers:
    """The answers of stages 1 … L to P positions; index 0 of `[L+1, …]` is the prior, which gives none."""

    given: Tensor  # the labels as they were given, int64 `[P]`
    truth: Tensor  # the true classes, int64 `[P]`: the clean labels, where noise has changed some
    weight: Tensor  # of each position, float64 `[P]`
    sample: Tensor  # which sample of the split it belongs to, int64 `[P]`
    answers: Tensor  # the class with the largest belief, int16 `[L, P]`
    confidence: Tensor  # its probability, float32 `[L, P]`
    in_given: Tensor  # the probability of the label given, float32 `[L+1, P]`
    in_truth: Tensor  # the probability of the true class, float32 `[L+1, P]`
    belief_sums: Tensor  # the weighted sum of the beliefs about each true class (rows), float64 `[L+1, C, C]`

    @property
    def depth(self) -> int:
        """The number of stages, L."""
        return len(self.answers)

    @cached_property
    def right(self) -> Tensor:
        """Whether the answer is the true class, bool `[L, P]`."""
        return self.answers == self.truth

    @cached_property
    def settled(self) -> Tensor:
        """The stage (from 1) from which on every stage gives the final answer, int64 `[P]`; above 1 it is that of the last flip."""
        return settled(self.answers)

    @cached_property
    def class_sizes(self) -> Tensor:
        """How many positions there are of each true class, int64 `[C]`."""
        return torch.bincount(self.truth, minlength=self.belief_sums.shape[-1])

    @property
    def class_beliefs(self) -> Tensor:
        """The mean belief about each true class (rows), float64 `[L+1, C, C]`; 0 for a class that does not occur."""
        return self.belief_sums / self.belief_sums.sum(-1, keepdim=True).clamp(min=1e-12)

    @property
    def class_accuracy(self) -> Tensor:
        """The share of each class answered rightly at each stage, float64 `[L, C]`; NaN for a class that does not occur."""
        return torch.stack([self.mean(self.right, self.truth == name) for name in range(len(self.class_sizes))], dim=-1)

    def mean(self, values: Tensor, where: Tensor | None = None) -> Tensor:
        """Return the weighted mean of values `[..., P]` over the positions, those of a mask if one is given, float64 `[...]`."""
        weight = self.weight if where is None else self.weight * where
        return (values.double() * weight).sum(-1) / weight.sum()

    def of_wrong_labels(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what became of wrong labels, by what is to be said of it; NaN where there are none.

        First the shares of answers to wrongly labelled samples that are the true class (found), the label (memorised) or neither,
        and beside them of the rightly labelled that are the label, `[L]`; then the mean beliefs in these classes, `[L+1]`.
        """
        wrong = self.given != self.truth
        found, memorised = self.mean(self.right, wrong), self.mean(self.answers == self.given, wrong)
        agreed = self.mean(self.right, ~wrong)
        return (
            {"found": found, "memorised": memorised, "a third class": 1 - found - memorised, "right labels: agreed": agreed},
            {
                "in the true class": self.mean(self.in_truth, wrong),
                "in the wrong label": self.mean(self.in_given, wrong),
                "in a right label": self.mean(self.in_given, ~wrong),
            },
        )

    @classmethod
    def of(cls, flat: Mapping[str, Flat]) -> Self:
        """Return the answers to some samples, given with each set of labels: the first are as given, the last the true ones."""
        given, *_, last = flat.values() if len(flat) > 1 else list(flat.values()) * 2
        beliefs, truth = last.log_beliefs.exp(), last.outcome
        best = beliefs[1:].max(-1)
        sums = torch.zeros(len(beliefs), beliefs.shape[-1], beliefs.shape[-1], dtype=torch.float64)

        def in_class(labels: Tensor) -> Tensor:
            return beliefs.gather(-1, labels.expand(len(beliefs), -1).unsqueeze(-1)).squeeze(-1)

        return cls(
            given=given.outcome,
            truth=truth,
            weight=last.weight,
            sample=last.sample,
            answers=best.indices.short(),
            confidence=best.values,
            in_given=in_class(given.outcome),
            in_truth=in_class(truth),
            belief_sums=sums.index_add_(1, truth, beliefs.double() * last.weight.unsqueeze(-1)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the answers to several batches, at least one, as those to one."""
        columns = {entry.name: [getattr(part, entry.name) for part in parts] for entry in fields(cls)}
        sums = torch.stack(columns.pop("belief_sums")).sum(0)
        return cls(**{name: torch.cat(column, dim=-1) for name, column in columns.items()}, belief_sums=sums)


def of_three(beliefs: Tensor, classes: tuple[int, int, int]) -> Tensor:
    """Return beliefs `[..., C]`, restricted to three classes and renormalised, `[..., 3]`; 1/3 each where they have none."""
    three = beliefs[..., list(classes)].double()
    total = three.sum(-1, keepdim=True)
    return torch.where(total > 0, three / total.where(total > 0, 1.0), 1 / 3)


def entangled(answers: Tensor, truth: Tensor, class_beliefs: Tensor) -> tuple[int, int, int] | None:
    """Return the two classes most often taken for each other, and the one most often taken for either; None of fewer than three.

    Of one stage, from answers and true classes `[N]`; the mean belief by true class, `[C, C]`, decides between equals.
    """
    count = len(class_beliefs)
    if count < 3:
        return None
    confused = torch.bincount(truth * count + answers.long(), minlength=count**2).reshape(count, count) + 1e-3 * class_beliefs
    pairs = (confused + confused.T).fill_diagonal_(-torch.inf)
    first, second = divmod(int(pairs.argmax()), count)
    third = int((pairs[first] + pairs[second]).argmax())
    return min(first, second), max(first, second), third
