"""What a cascade answers to every sample of a split, stage by stage: all that its pictures need, in a size that fits any split.

Of the beliefs `[L+1, P, C]`, which may be too many to hold, there remain the answers, their probabilities, the probabilities of
the labels, and the mean belief about every class. P are the positions that count: of a classifier, the samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from torchsid.study.positions import Flat, outcomes
from torchsid.training.evaluation import unbroken


@dataclass(frozen=True)
class Answers:
    """The answers of stages 1 … L to P positions; index 0 of `[L+1, …]` is the prior, which gives none."""

    labels: Mapping[str, Tensor]
    """Outcomes by the name of the labels, int64 `[P]`; the last are taken for the truth."""
    weight: Tensor
    """Of each position, float64 `[P]`."""
    sample: Tensor
    """Which sample of the split it belongs to, int64 `[P]`."""
    answers: Tensor
    """The class with the largest belief, int16 `[L, P]`."""
    confidence: Tensor
    """Its probability, float32 `[L, P]`."""
    belief_in: Mapping[str, Tensor]
    """For each set of labels the probability of the label, float32 `[L+1, P]`."""
    class_beliefs: Tensor
    """The mean belief about each true class (rows), float64 `[L+1, C, C]`; 0 for a class that does not occur."""

    @property
    def truth(self) -> Tensor:
        """The true classes, int64 `[P]`: the clean labels, where noise has changed some."""
        return list(self.labels.values())[-1]

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return self.class_beliefs.shape[-1]

    @cached_property
    def right(self) -> Tensor:
        """Whether the answer is the true class, bool `[L, P]`."""
        return self.answers == self.truth

    @cached_property
    def settled(self) -> Tensor:
        """The stage (from 1) from which on every stage gives the final answer, int64 `[P]`; above 1 it is that of the last flip."""
        return len(self.answers) + 1 - unbroken(self.answers == self.answers[-1])

    @cached_property
    def class_sizes(self) -> Tensor:
        """How many positions there are of each true class, int64 `[C]`."""
        return torch.bincount(self.truth, minlength=self.num_classes)

    @property
    def accuracy(self) -> Tensor:
        """The share answered rightly at each stage, float64 `[L]`."""
        return self.mean(self.right)

    @property
    def class_accuracy(self) -> Tensor:
        """The share of each class answered rightly at each stage, float64 `[L, C]`; NaN for a class that does not occur."""
        weights = self.weight.new_zeros(self.num_classes).index_add(0, self.truth, self.weight)
        right = self.weight.new_zeros(len(self.right), self.num_classes).index_add(1, self.truth, self.right * self.weight)
        return right / weights

    def mean(self, values: Tensor, where: Tensor | None = None) -> Tensor:
        """Return the weighted mean of values `[..., P]` over the positions, those of a mask if one is given, float64 `[...]`."""
        weight = self.weight if where is None else self.weight * where
        return (values.double() * weight).sum(-1) / weight.sum()


class AnswersMaker:
    """Makes answers of beliefs that come batch by batch."""

    def __init__(self) -> None:
        self._flat: list[dict[str, Flat]] = []
        self._answers: list[Tensor] = []
        self._confidence: list[Tensor] = []
        self._belief_in: dict[str, list[Tensor]] = {}
        self._sums: Tensor | None = None

    def add(self, flat: Mapping[str, Flat]) -> None:
        """Take in the beliefs about the next samples, with each set of labels; the last one is taken for the truth."""
        *_, last = flat.values()
        beliefs = last.log_beliefs.exp()
        best = beliefs[1:].max(-1)
        self._answers.append(best.indices.short())
        self._confidence.append(best.values)
        for name, each in flat.items():
            labels = outcomes(each.target).expand(len(beliefs), -1).unsqueeze(-1)
            self._belief_in.setdefault(name, []).append(beliefs.gather(-1, labels).squeeze(-1))
        if self._sums is None:
            self._sums = torch.zeros(len(beliefs), beliefs.shape[-1], beliefs.shape[-1], dtype=torch.float64)
        self._sums.index_add_(1, outcomes(last.target), beliefs.double() * last.weight.unsqueeze(-1))
        self._flat.append({name: each._replace(log_beliefs=last.weight) for name, each in flat.items()})  # beliefs are too many

    def answers(self) -> Answers:
        """Return the answers to all that was taken in, at least one batch."""
        assert self._sums is not None
        labels = {name: torch.cat([outcomes(flat[name].target) for flat in self._flat]) for name in self._flat[0]}
        name = list(labels)[-1]
        weight, sample = (torch.cat([getattr(flat[name], field) for flat in self._flat]) for field in ("weight", "sample"))
        sizes = torch.zeros(self._sums.shape[-1], dtype=torch.float64).index_add(0, labels[name], weight)
        return Answers(
            labels=labels,
            weight=weight,
            sample=sample,
            answers=torch.cat(self._answers, dim=1),
            confidence=torch.cat(self._confidence, dim=1),
            belief_in={name: torch.cat(parts, dim=1) for name, parts in self._belief_in.items()},
            class_beliefs=self._sums / sizes.where(sizes > 0, 1.0).unsqueeze(-1),
        )
