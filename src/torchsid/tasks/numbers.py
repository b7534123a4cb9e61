"""Numbers as outcomes: beliefs over bins of what training has seen, what they say, and how near that comes to the truth."""

from collections.abc import Mapping
from dataclasses import asdict
from math import floor, log10
from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
from annotated_types import Ge, Gt, Lt
from pydantic.dataclasses import dataclass
from torch import Tensor

from torchsid.core.bins import Bins
from torchsid.errors import DataError
from torchsid.settings import STRICT, NotNegative, Positive
from torchsid.tasks.domain import About


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BinsConfig:
    """The bins of a belief about a number, and what is read off it."""

    count: Annotated[int, Ge(2)] = 50
    """C, the number of bins, all equally wide."""
    sigma: Positive = 0.75
    """Standard deviation of a target's Gaussian, in bin widths (HL-Gauss)."""
    margin: NotNegative = 0.1
    """How far the bins reach beyond the numbers of the training part at either end, as a share of their range."""
    level: Annotated[float, Gt(0), Lt(1)] = 0.9
    """Probability of the interval around the mean; as much is left out below as above."""
    outside: Literal["clamp", "error"] = "clamp"
    """A held-out number beyond the bins: give it the target of the nearer end, measure errors to the number itself, and count
    it; or stop."""


class Said(NamedTuple):
    """What beliefs say of numbers, `[...]` each."""

    mean: Tensor
    low: Tensor
    """Where the central interval begins."""
    high: Tensor


class Numbers(NamedTuple):
    """Bins, and how a target is made for them and an interval read off a belief; `about` of a data set keeps it as `bins`."""

    bins: Bins
    sigma: float
    level: float

    @classmethod
    def fitted(cls, values: Tensor, config: BinsConfig) -> Self:
        """Return the bins for the numbers of a training part, float64 `[N]`, with a margin at both ends.

        Raises:
            DataError: they are all the same.
        """
        low, high = values.min().item(), values.max().item()
        if low == high:
            raise DataError(f"the target is {low:g} in all {len(values)} training samples: there is nothing to learn")
        beyond = config.margin * (high - low)
        return cls(Bins(low - beyond, high + beyond, config.count), config.sigma, config.level)

    @classmethod
    def of(cls, about: About) -> Self | None:
        """Return what a data set says of its bins; None where its outcomes are no numbers."""
        bins = Bins.of(about)
        return None if bins is None else cls(bins, about["bins"]["sigma"], about["bins"]["level"])

    def about(self) -> dict[str, Any]:
        """Return what a data set keeps: the bins, their number, and their middles as names."""
        digits = max(0, 1 - floor(log10(self.bins.width)))
        middles = self.bins.centres(torch.zeros((), dtype=torch.float64)).tolist()
        kept = {**asdict(self.bins), "sigma": self.sigma, "level": self.level}
        return {"num_classes": self.bins.count, "class_names": [f"{middle:.{digits}f}" for middle in middles], "bins": kept}

    def targets(self, values: Tensor) -> Tensor:
        """Return the targets of numbers, float64 `[N]`, float32 rows over the bins, `[N, C]`."""
        return self.bins.hl_gauss(values, self.sigma).float()

    def beyond(self, values: Tensor, part: str, outside: Literal["clamp", "error"]) -> list[str]:
        """Say how many numbers of a part lie outside the bins.

        Raises:
            DataError: some do, and that is an error.
        """
        if not (found := values[self.bins.outside(values)]).numel():
            return []
        ends = f"{self.bins.low:g} to {self.bins.high:g}"
        told = f"{part}: {len(found)} of {len(values)} targets lie outside the bins from {ends}, such as {found[0]:g}"
        if outside == "error":
            raise DataError(f"{told}: raise data.bins.margin, or set data.bins.outside = 'clamp'")
        return [f"{told}; they count as the nearer end, in errors as they are"]

    def said(self, log_beliefs: Tensor) -> Said:
        """Return means and intervals of beliefs `[..., C]`."""
        return Said(self.bins.mean(log_beliefs), *self.bins.interval(log_beliefs, self.level))


def errors(said: Said, truth: Tensor, share: Tensor) -> Mapping[str, list[float]]:
    """Return how near the means of M beliefs come, and how often their intervals hold the truth, a number for every stage.

    Args:
        said: of beliefs, `[L+1, M]` each, float64.
        truth: the numbers, `[M]`.
        share: what each counts, `[M]`, 1 in all.

    Returns:
        `mae`, the mean `|ŷ − y|`; `rmse`, the root of the mean `(ŷ − y)²`; `r2 = 1 − Σ(ŷ − y)² / Σ(y − ȳ)²`, unless all numbers are
        the same; `coverage`, the share within their intervals.
    """
    off = said.mean - truth
    squared, spread = (off**2 * share).sum(-1), ((truth - (truth * share).sum()) ** 2 * share).sum()
    within = ((said.low <= truth) & (truth <= said.high)) * share
    found = {"mae": (off.abs() * share).sum(-1), "rmse": squared.sqrt(), "coverage": within.sum(-1)}
    if spread > 0:
        found["r2"] = 1 - squared / spread
    return {name: values.tolist() for name, values in found.items()}
