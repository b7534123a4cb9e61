"""What a cascade answers to every sample of a split, stage by stage: all that its pictures need, in a size that fits any split.

Of the beliefs `[L+1, P, C]`, which may be too many to hold, there remain the answers, their probabilities, the probabilities of
the labels, and the mean belief about every class. P are the positions that count: of a classifier, the samples.
"""

from collections.abc import Mapping, Sequence
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
    belief_sums: Tensor
    """The weighted sum of the beliefs about each true class (rows), float64 `[L+1, C, C]`."""

    @property
    def truth(self) -> Tensor:
        """The true classes, int64 `[P]`: the clean labels, where noise has changed some."""
        return list(self.labels.values())[-1]

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return self.belief_sums.shape[-1]

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
    def class_beliefs(self) -> Tensor:
        """The mean belief about each true class (rows), float64 `[L+1, C, C]`; 0 for a class that does not occur."""
        return self.belief_sums / self.belief_sums.sum(-1, keepdim=True).clamp(min=1e-12)

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

    @classmethod
    def of(cls, flat: Mapping[str, Flat]) -> "Answers":
        """Return the answers to some samples, given with each set of labels."""
        *_, last = flat.values()
        beliefs, truth = last.log_beliefs.exp(), outcomes(last.target)
        best = beliefs[1:].max(-1)
        labels = {name: outcomes(each.target) for name, each in flat.items()}
        sums = torch.zeros(len(beliefs), beliefs.shape[-1], beliefs.shape[-1], dtype=torch.float64)
        return cls(
            labels=labels,
            weight=last.weight,
            sample=last.sample,
            answers=best.indices.short(),
            confidence=best.values,
            belief_in={
                name: beliefs.gather(-1, own.expand(len(beliefs), -1).unsqueeze(-1)).squeeze(-1) for name, own in labels.items()
            },
            belief_sums=sums.index_add_(1, truth, beliefs.double() * last.weight.unsqueeze(-1)),
        )

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """Return the answers to several batches, at least one, as those to one."""
        first = parts[0]
        return cls(
            labels={name: torch.cat([part.labels[name] for part in parts]) for name in first.labels},
            weight=torch.cat([part.weight for part in parts]),
            sample=torch.cat([part.sample for part in parts]),
            answers=torch.cat([part.answers for part in parts], dim=1),
            confidence=torch.cat([part.confidence for part in parts], dim=1),
            belief_in={name: torch.cat([part.belief_in[name] for part in parts], dim=1) for name in first.belief_in},
            belief_sums=torch.stack([part.belief_sums for part in parts]).sum(0),
        )
