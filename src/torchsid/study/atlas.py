"""What a cascade answers to every image of a split, stage by stage: all that its pictures need, in a size that fits any split.

Of the beliefs `[L+1, N, C]`, which may be too many to hold, an atlas keeps the answers, their probabilities, the probabilities of
the labels, and the mean belief of every class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from torchsid.training.evaluation import unbroken


@dataclass(frozen=True)
class Atlas:
    """The answers of stages 1 … L to N images; index 0 of `[L+1, …]` is the prior, which gives none."""

    truth: Tensor
    """The true classes, int64 `[N]`: the clean labels, where noise has changed some."""
    answers: Tensor
    """The class with the largest belief, int16 `[L, N]`."""
    confidence: Tensor
    """Its probability, float32 `[L, N]`."""
    belief_in: Mapping[str, Tensor]
    """For each set of labels the probability of the label, float32 `[L+1, N]`."""
    class_beliefs: Tensor
    """The mean belief about the images of each true class (rows), float64 `[L+1, C, C]`; 0 for a class without images."""

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return self.class_beliefs.shape[-1]

    @cached_property
    def right(self) -> Tensor:
        """Whether the answer is the true class, bool `[L, N]`."""
        return self.answers == self.truth

    @cached_property
    def settled(self) -> Tensor:
        """The stage (from 1) from which on every stage gives the final answer, int64 `[N]`; above 1 it is that of the last flip."""
        return len(self.answers) + 1 - unbroken(self.answers == self.answers[-1])

    @cached_property
    def class_sizes(self) -> Tensor:
        """How many images there are of each true class, int64 `[C]`."""
        return torch.bincount(self.truth, minlength=self.num_classes)

    @property
    def accuracy(self) -> Tensor:
        """The share answered rightly at each stage, float64 `[L]`."""
        return self.right.double().mean(1)

    @property
    def class_accuracy(self) -> Tensor:
        """The share of each class answered rightly at each stage, float64 `[L, C]`; NaN for a class without images."""
        counts = torch.stack([torch.bincount(self.truth[right], minlength=self.num_classes) for right in self.right])
        return counts.double() / self.class_sizes

    @property
    def settling(self) -> Tensor:
        """In how many images the answer settles at each stage, rightly (row 0) and wrongly (row 1), int64 `[2, L]`."""
        right, depth = self.right[-1], len(self.answers)
        return torch.stack([torch.bincount(self.settled[kind] - 1, minlength=depth) for kind in (right, ~right)])


class AtlasMaker:
    """Makes an atlas of beliefs that come batch by batch.

    Args:
        labels: classes `[N]` by name; the last set is taken for the truth.
    """

    def __init__(self, labels: Mapping[str, Tensor]) -> None:
        self._labels = labels
        self._truth = list(labels.values())[-1]
        self._answers: list[Tensor] = []
        self._confidence: list[Tensor] = []
        self._belief_in: dict[str, list[Tensor]] = {name: [] for name in labels}
        self._sums: Tensor | None = None

    def add(self, batch: slice, log_beliefs: Tensor) -> None:
        """Take in the log-beliefs `[L+1, B, C]` about the next images, whose places are `batch`."""
        beliefs = log_beliefs.exp()
        best = beliefs[1:].max(-1)
        self._answers.append(best.indices.short())
        self._confidence.append(best.values)
        for name, classes in self._labels.items():
            of_labels = classes[batch].expand(len(beliefs), -1).unsqueeze(-1)
            self._belief_in[name].append(beliefs.gather(-1, of_labels).squeeze(-1))
        if self._sums is None:
            depth, _, classes_ = beliefs.shape
            self._sums = torch.zeros(depth, classes_, classes_, dtype=torch.float64)
        self._sums.index_add_(1, self._truth[batch], beliefs.double())

    def atlas(self) -> Atlas:
        """Return the atlas of all that was taken in, at least one batch."""
        assert self._sums is not None
        sizes = torch.bincount(self._truth, minlength=self._sums.shape[-1]).clamp(min=1)
        return Atlas(
            truth=self._truth,
            answers=torch.cat(self._answers, dim=1),
            confidence=torch.cat(self._confidence, dim=1),
            belief_in={name: torch.cat(parts, dim=1) for name, parts in self._belief_in.items()},
            class_beliefs=self._sums / sizes.unsqueeze(-1),
        )
