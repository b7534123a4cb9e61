"""A uniform grid a channel, from its smallest to its largest weight, and what lies on it."""

from typing import NamedTuple

import torch
from torch import Tensor

BITS = range(2, 9)


class Grid(NamedTuple):
    """The values `δ_c (z_c + k)`, k = 0 … 2^b − 1, that the weights of output channel c may take."""

    scale: Tensor
    """δ, `[C, 1]`."""
    zero: Tensor
    """z, whole numbers, `[C, 1]`."""
    bits: int
    """b."""

    @classmethod
    def of(cls, weight: Tensor, bits: int) -> "Grid":
        """Return `δ = (max − min) / (2^b − 1)`, `z = round(min / δ)` of weights `[C, d]`; equal weights are on their grid."""
        low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
        scale = (high - low) / (2**bits - 1)
        flat = torch.where(low == 0, torch.ones_like(low), low.abs())
        scale = torch.where(scale > 0, scale, flat)
        return cls(scale, (low / scale).round(), bits)

    def nearest(self, values: Tensor) -> Tensor:
        """Return the code k of the nearest value, whole numbers like the values `[C, d]`."""
        return (values / self.scale - self.zero).round().clamp(0, 2**self.bits - 1)

    def values(self, codes: Tensor) -> Tensor:
        """Return what codes `[C, d]` stand for."""
        return self.scale * (self.zero + codes)


class Quantised(NamedTuple):
    """A weight on a grid."""

    codes: Tensor
    """uint8 `[C, d]`."""
    grid: Grid
    """In the precision of the weight that was quantised."""

    def values(self) -> Tensor:
        """Return the weight, float32 `[C, d]`, to the bit what is read from a file."""
        scale, zero, bits = self.grid
        return Grid(scale.float(), zero.float(), bits).values(self.codes.float())


def nearest(weight: Tensor, bits: int) -> Quantised:
    """Return weights `[C, d]` rounded to the nearest values of their grid."""
    grid = Grid.of(weight, bits)
    return Quantised(grid.nearest(weight).to(torch.uint8), grid)
