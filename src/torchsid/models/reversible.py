"""Networks of stages that can be run backwards (Gomez et al. 2017, arXiv 1707.04585), which keep no activations for it."""

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Coupling(nn.Module):
    """A reversible stage: `y = x̃ + F(x),  ỹ = x`, so `x = ỹ,  x̃ = y − F(ỹ)`; (x, x̃) and (y, ỹ) are halves of the channels.

    Args:
        branch: F, which keeps the shape.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, z: Tensor) -> Tensor:
        """Return (y, ỹ) of (x, x̃), both `[B, channels, ...]`."""
        x, other = z.chunk(2, 1)
        return torch.cat([other + self.branch(x), x], 1)


class Transition(nn.Sequential):
    """A stage that cannot be reversed, in the precision of its weights: in less, what is behind it could not be reconstructed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the next stage reads."""
        made: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return made.to(next(self.parameters()).dtype)


class ReversibleNetwork(nn.Module):
    """Stages in a row, of which those that are a `Coupling` can be reversed; the last makes the logits.

    Args:
        stages: the modules, two or more.
        num_classes: C.
    """

    def __init__(self, stages: Iterable[nn.Module], num_classes: int) -> None:
        super().__init__()
        self.stages, self.num_classes = nn.ModuleList(stages), num_classes
        self.under_way: dict[str, deque[Tensor]] = {}
        """What a pipelined training has sent and not yet received; no part of the weights."""

    @property
    def depth(self) -> int:
        """The number of stages J."""
        return len(self.stages)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, C]`."""
        for stage in self.stages:
            x = stage(x)
        return x
