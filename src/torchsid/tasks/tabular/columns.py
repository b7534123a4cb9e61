"""What training knows of a column, and how a network reads it: numbers standardised, names one-hot, what is missing as such."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from torchsid.tasks.tabular.table import Cells

MOST = 64
"""Names of a column that are told apart; all rarer ones are `unknown`."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of numbers, or of names where there are `names`; it is stored as float64, NaN where nothing stands."""

    name: str
    mean: float = 0.0
    std: float = 1.0
    median: float = 0.0
    """What stands for a number that is missing."""
    gaps: bool = False
    """Whether numbers are missing in the training part; then an input says where."""
    names: Sequence[str] = ()
    """That training has seen; of any other, or of none, an input of its own says so."""

    @classmethod
    def of_numbers(cls, name: str, values: NDArray[np.float64]) -> "Column | None":
        """Return what the training part `[N]` says of a column of numbers; None where all that stand there are the same."""
        there = values[~np.isnan(values)]
        gaps = len(there) < len(values)
        if not len(there) or (not gaps and there.min() == there.max()):
            return None
        std = float(there.std()) or 1.0
        return cls(name=name, mean=float(there.mean()), std=std, median=float(np.median(there)), gaps=gaps)

    @classmethod
    def of_names(cls, name: str, cells: Cells) -> "Column | None":
        """Return what the training part says of a column of names; None where all rows have the same."""
        counts = Counter(cell for cell in cells if cell is not None)
        if not counts or (len(counts) == 1 and counts.total() == len(cells)):
            return None
        kept = [each for each, _ in counts.most_common(MOST)]
        return cls(name=name, names=sorted(kept))

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return len(self.names) + 1 if self.names else 1 + self.gaps

    def stored(self, cells: Cells) -> NDArray[np.float64]:
        """Return a column as it is stored, `[N]`: numbers as they are, of a name its place."""
        if not self.names:
            return cells
        place = {name: float(number) for number, name in enumerate(self.names)}
        return np.array([place.get(cell, np.nan) for cell in cells], dtype=np.float64)

    def read(self, stored: Tensor) -> Tensor:
        """Return the inputs of the network, float32 `[B, width]`, of what is stored, `[B]`."""
        gap = stored.isnan()
        if self.names:
            return F.one_hot(torch.where(gap, len(self.names), stored).long(), self.width).float()
        value = (torch.where(gap, self.median, stored) - self.mean) / self.std
        return torch.stack([value, gap.double()] if self.gaps else [value], dim=-1).float()

    def told(self, value: float) -> str:
        """Return what is stored as a user knows it."""
        if np.isnan(value):
            return "unknown" if self.names else "missing"
        return self.names[int(value)] if self.names else f"{value:g}"


def fitted(rows: Mapping[str, Cells]) -> tuple[list[Column], list[str]]:
    """Return what the training part says of its columns, and a sentence for each that is left out or cut off.

    Args:
        rows: cells by name of column, `[N]`: float64, or objects where it is one of names.
    """
    found, notes = list[Column](), list[str]()
    for name, cells in rows.items():
        of_names = cells.dtype == object
        column = Column.of_names(name, cells) if of_names else Column.of_numbers(name, cells)
        if column is None:
            notes.append(f"column {name!r} is left out: all training rows have the same, or nothing")
            continue
        found.append(column)
        if of_names and (several := len({*cells} - {None})) > MOST:
            notes.append(f"column {name!r} has {several} names: the {MOST} most frequent are told apart, others are unknown")
    return found, notes


def columns_of(about: Mapping[str, Any]) -> list[Column]:
    """Return the columns of a data set that was loaded."""
    return [Column(**column) for column in about["columns"]]
