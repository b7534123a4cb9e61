"""Beliefs at positions as beliefs about as many samples; tokens, actions or pixels count by their weight."""

from typing import NamedTuple

import torch
from torch import Tensor


class Flat(NamedTuple):
    """P positions of B samples that count."""

    log_beliefs: Tensor
    """`[L+1, P, C]`."""
    target: Tensor
    """Outcomes `[P]` or rows `[P, C]`."""
    weight: Tensor
    """Above 0, `[P]`, float64."""
    sample: Tensor
    """Which of the samples it is a position of, `[P]`."""
    position: Tensor
    """Its place within the sample, from 0, `[P]`."""


def flatten(log_beliefs: Tensor, target: Tensor, weight: Tensor | None = None) -> Flat:
    """Return all positions that have a weight above 0.

    Args:
        log_beliefs: `[L+1, B, ..., C]`.
        target: `[B, ...]`, or probability rows `[B, ..., C]`.
        weight: `[B, ...]`; None counts all alike.
    """
    shape = log_beliefs.shape[1:-1]
    flat = torch.ones(shape, dtype=torch.float64).flatten() if weight is None else weight.double().flatten()
    places = flat.nonzero().squeeze(-1)
    each = max(len(flat) // max(shape[0], 1), 1)
    rows = target.flatten() if target.shape == shape else target.reshape(-1, log_beliefs.shape[-1])
    kept = log_beliefs.flatten(1, -2) if len(places) == len(flat) else log_beliefs.flatten(1, -2)[:, places]
    return Flat(kept, rows[places], flat[places], places // each, places % each)


def outcomes(target: Tensor) -> Tensor:
    """Return the likeliest outcome `[P]` of targets, which may be rows `[P, C]`."""
    return target.argmax(-1) if target.ndim == 2 else target
