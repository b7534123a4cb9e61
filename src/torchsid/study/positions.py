"""Beliefs at positions as beliefs about as many samples; tokens, actions or pixels count by their weight."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchsid.core.weighting import counted
from torchsid.training.evaluation import outcome_of, refuse_diverged, unbroken


class Flat(NamedTuple):
    """P positions of B samples that count."""

    log_beliefs: Tensor  # `[L+1, P, C]`
    target: Tensor  # outcomes `[P]` or rows `[P, C]`
    weight: Tensor  # above 0, `[P]`, float64
    sample: Tensor  # which of the samples it is a position of, `[P]`
    position: Tensor  # its place within the sample, from 0, `[P]`

    @property
    def outcome(self) -> Tensor:
        """The outcome, or the likeliest one of a row, int64 `[P]`."""
        return outcome_of(self.target)

    def take(self, places: Sequence[int] | Tensor) -> "Flat":
        """Return the positions at some places."""
        return Flat(self.log_beliefs[:, places], *(each[places] for each in self[1:]))


def flatten(log_beliefs: Tensor, target: Tensor, weight: Tensor | None = None) -> Flat:
    """Return all positions of beliefs `[L+1, B, ..., C]`, targets (or rows of them) and weights `[B, ...]` that count above 0.

    The outcome -100 counts nowhere. A belief that is no distribution, because the network has diverged, is a NonFiniteError.
    """
    shape, weight = log_beliefs.shape[1:-1], counted(target, weight) if target.numel() else weight
    flat = torch.ones(shape, dtype=torch.float64).flatten() if weight is None else weight.double().flatten()
    places = flat.nonzero().squeeze(-1)
    each = max(len(flat) // max(shape[0], 1), 1)
    rows = target.flatten() if target.shape == shape else target.reshape(-1, log_beliefs.shape[-1])
    kept = log_beliefs.flatten(1, -2) if len(places) == len(flat) else log_beliefs.flatten(1, -2)[:, places]
    refuse_diverged(kept)
    return Flat(kept, rows[places], flat[places], places // each, places % each)


def settled(answers: Tensor) -> Tensor:
    """Return the first stage (from 1) from which on every stage gives the final answer, int64 `[P]`, for answers `[L, P]`."""
    return len(answers) + 1 - unbroken(answers == answers[-1])


def spread(candidates: Tensor, count: int) -> list[int]:
    """Return up to `count` places where `candidates` (bool `[P]`) is true, evenly spread over them, ascending."""
    places: list[int] = candidates.nonzero().flatten().tolist()
    return [places[step * len(places) // count] for step in range(count)] if len(places) > count else places
