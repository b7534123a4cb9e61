"""What the propositions say of every single sample, measured batch by batch, so that no set of images is too large."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from torchsid.core.objective import LocalObjective
from torchsid.core.propositions import (
    descent_margins,
    distances_to_minimiser,
    divergence,
    excess_losses,
    local_losses,
    residuals,
    rounding,
)


@dataclass(frozen=True)
class SampleNumbers:
    """One number a stage and position, float64; index 0 of `[L+1, P]` is the prior."""

    to_target: Tensor
    """`D(p_i, p_y)`, `[L+1, P]`."""
    loss: Tensor
    """`L_i(p_i)`, `[L, P]`."""
    excess: Tensor
    """`L_i(p_i) − L_i(p_{i−1})`, `[L, P]`."""
    margin: Tensor
    """By how much the conclusion of Proposition 2 is met, times α_i, `[L, P]`."""
    distance: Tensor
    """`L_i(p_i) − min L_i`, `[L, P]`."""
    residual: Tensor
    """What is left of the gap to the target, `[L+1, P]`."""

    @property
    def rise(self) -> Tensor:
        """`D(p_i, p_y) − D(p_{i−1}, p_y)`, `[L, P]`: below 0 where the belief came closer to the target."""
        return self.to_target.diff(dim=0)

    @property
    def premise(self) -> Tensor:
        """Whether the premise of Proposition 2 holds, `[L, P]`."""
        return self.excess <= rounding(self.to_target)

    @property
    def conclusion(self) -> Tensor:
        """Whether the conclusion of Proposition 2 holds, the term for the distance moved included, `[L, P]`."""
        return self.margin >= -rounding(self.to_target)

    @property
    def descends(self) -> Tensor:
        """Whether the belief came closer to the target, or stayed where it was, `[L, P]`."""
        return self.rise <= rounding(self.to_target)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the numbers of several batches as those of one."""
        return cls(*(torch.cat([getattr(part, entry.name) for part in parts], dim=1) for entry in fields(cls)))


def measure(log_beliefs: Tensor, target: Tensor, objective: LocalObjective) -> SampleNumbers:
    """Return the numbers of one batch.

    Args:
        log_beliefs: `[L+1, P, C]`, in any precision; they are normalised and computed with in float64.
        target: classes `[P]` or probability rows `[P, C]`; smoothed as the objective says.
        objective: what each stage minimises.

    Raises:
        TargetError: the target does not fit; see `LocalObjective.log_target`.
        ValueError: the objective has another number of α than there are stages.
    """
    log_beliefs = log_beliefs.double().log_softmax(-1)
    log_target = objective.log_target(target, log_beliefs.shape[-1], dtype=torch.float64)
    return SampleNumbers(
        to_target=divergence(log_beliefs, log_target, objective),
        loss=local_losses(log_beliefs, log_target, objective),
        excess=excess_losses(log_beliefs, log_target, objective),
        margin=descent_margins(log_beliefs, log_target, objective),
        distance=distances_to_minimiser(log_beliefs, log_target, objective),
        residual=residuals(log_beliefs, log_target, objective),
    )
