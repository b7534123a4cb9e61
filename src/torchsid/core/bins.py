"""Numbers as beliefs: a distribution over equal bins of an interval, from a number and back to one.

A target is a Gaussian about the number, cut into the bins (HL-Gauss; Imani and White, arXiv 1806.04613; Farebrother et al.,
arXiv 2403.03950); the answer is the mean of the belief. Everything here is a pure function of tensors on any device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from torchsid.core.beliefs import expectation


@dataclass(frozen=True)
class Bins:
    """C bins of equal width between `low` and `high`, the support.

    Raises:
        ValueError: the support is empty or not finite, or there are fewer than two bins.
    """

    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        if not 0 < self.high - self.low < float("inf") or self.count < 2:
            given = f"{self.count} bins from {self.low:g} to {self.high:g}"
            raise ValueError(f"{given}: give 2 bins or more, and finite ends of which the first is the lower one")

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self | None:
        """Return the bins that a data set's `bins` describe; None where its outcomes are no bins."""
        found = about.get("bins")
        return found and cls(found["low"], found["high"], found["count"])

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.high - self.low) / self.count

    def edges(self, like: Tensor) -> Tensor:
        """Return where the bins begin, and where the last one ends, `[C+1]`, in the precision of `like` and on its device."""
        return torch.linspace(self.low, self.high, self.count + 1, dtype=like.dtype, device=like.device)

    def centres(self, like: Tensor) -> Tensor:
        """Return the middle of each bin, `[C]`, likewise."""
        edges = self.edges(like)
        return (edges[1:] + edges[:-1]) / 2

    def outside(self, values: Tensor) -> Tensor:
        """Return which numbers lie outside the support, bool `[...]`; NaN does."""
        return ~((values >= self.low) & (values <= self.high))

    def hl_gauss(self, values: Tensor, sigma: float = 0.75) -> Tensor:
        """Return the targets `p_i ∝ Φ((b_{i+1}−y)/σ) − Φ((b_i−y)/σ)`, probability rows `[..., C]`.

        Args:
            values: y, floating point `[...]`; one outside the support counts as the end that is nearer.
            sigma: σ in widths of a bin, above 0. From 0.5 on the mean of a target is its number, but for what an end cuts off.
        """
        edges = self.edges(values)
        below = torch.special.ndtr((edges - values.clamp(self.low, self.high).unsqueeze(-1)) / (sigma * self.width))
        mass: Tensor = below.diff(dim=-1)
        return mass / mass.sum(-1, keepdim=True)

    def projected(self, values: Tensor, mass: Tensor) -> Tensor:
        """Return probability rows `[..., C]` of distributions over any numbers: each gives its mass to the two nearest middles.

            p_i = Σ_j m_j · max(0, 1 − abs(y_j − c_i) / width)

        for numbers y that are moved into the range of the middles c, so that the mean is kept where none was: the projection of
        C51 (Bellemare, Dabney and Munos, arXiv 1707.06887, eq. 7).

        Args:
            values: y, floating point `[..., J]`.
            mass: m, 0 or more, `[..., J]`, with a sum of 1.
        """
        place = ((values - self.low) / self.width - 0.5).clamp(0, self.count - 1)
        lower = place.floor()
        share, below = mass * (place - lower), lower.long()
        rows = mass.new_zeros(*mass.shape[:-1], self.count).scatter_add_(-1, below, mass - share)
        return rows.scatter_add_(-1, (below + 1).clamp(max=self.count - 1), share)

    def mean(self, log_belief: Tensor) -> Tensor:
        """Return `Σ_i p_i c_i` for the middles c of the bins, `[...]`, of beliefs `[..., C]`."""
        return expectation(log_belief, self.centres(log_belief).expand_as(log_belief))

    def quantile(self, log_belief: Tensor, share: float) -> Tensor:
        """Return the number below which a share of the belief lies, `[...]`, of beliefs `[..., C]` that are even within a bin."""
        mass = log_belief.exp()
        below = mass.cumsum(-1)
        wanted = share * below[..., -1:]  # which rounding may leave beside 1
        bin_of = (below < wanted).sum(-1, keepdim=True).clamp(max=self.count - 1)
        own = mass.gather(-1, bin_of)
        within = (wanted - (below.gather(-1, bin_of) - own)) / own.clamp(min=torch.finfo(own.dtype).tiny)
        return (self.low + self.width * (bin_of + within.clamp(0, 1))).squeeze(-1)

    def interval(self, log_belief: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the ends of the central interval, in which a share `level` of the belief lies, `[...]` each."""
        return self.quantile(log_belief, (1 - level) / 2), self.quantile(log_belief, (1 + level) / 2)
