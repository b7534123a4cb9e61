"""How samples are divided into parts, every class in its share."""

import numpy as np
import torch
from numpy.typing import NDArray

from torchsid.errors import DataError
from torchsid.tasks.domain import generator_at

Labels = NDArray[np.int64]


def quotas(counts: Labels, total: int) -> Labels:
    """Divide `total` among classes in proportion to `counts` (largest remainders get the rest); int64 `[C]`."""
    exact = counts * (total / counts.sum())
    quota: Labels = np.floor(exact + 1e-9).astype(np.int64)
    most_short = np.argsort(quota - exact, kind="stable")
    quota[most_short[: total - int(quota.sum())]] += 1
    return quota


def first(labels: Labels, total: int, num_classes: int) -> Labels:
    """Return the indices of the first `total` samples with every class in its share, in the order of the file."""
    quota = quotas(np.bincount(labels, minlength=num_classes), total)
    return np.flatnonzero(_rank_in_class(labels) < quota[labels])


def hold_out(labels: Labels, share: float, num_classes: int, seed: int) -> tuple[Labels, Labels]:
    """Return the indices to keep and those to hold out, both in the order of the file; a function of its arguments."""
    shuffled = torch.randperm(len(labels), generator=generator_at("split", seed)).numpy()
    kept = np.ones(len(labels), dtype=bool)
    kept[shuffled[first(labels[shuffled], round(share * len(labels)), num_classes)]] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def every_fifth(labels: Labels, fold: int = 4) -> tuple[Labels, Labels]:
    """Return the indices for training and for testing of data that come without a test part.

    The rule is fixed: within each class, in the order of the file, samples 5, 10, 15, … are the test set; of another fold, from 0,
    samples fold + 1, fold + 6, ….
    """
    test = _rank_in_class(labels) % 5 == fold
    return np.flatnonzero(~test), np.flatnonzero(test)


def a_fifth(labels: Labels, *, num_classes: int, by_lot: bool) -> tuple[Labels, Labels]:
    """Return the indices to train on and those to test with, a fifth of each class, by lot or every fifth.

    By lot they are the same whatever a run's seed.

    Raises:
        DataError: there are too few to keep any.
    """
    kept, out = hold_out(labels, 0.2, num_classes, seed=0) if by_lot else every_fifth(labels)
    if not len(out):
        raise DataError(f"{len(labels)} images are too few to keep some for testing: add images, or a test set (test/ or a list)")
    return kept, out


def _rank_in_class(labels: Labels) -> Labels:
    """For each sample: how many earlier ones have its label."""
    by_class = np.argsort(labels, kind="stable")
    ordered = labels[by_class]
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return rank
