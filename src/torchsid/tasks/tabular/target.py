"""The column that is to be foreseen: whether its outcomes are classes or a number, and what is wrong with a row's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import DataError, printable
from torchsid.tasks.domain import About
from torchsid.tasks.splitting import Labels
from torchsid.tasks.tables import in_order
from torchsid.tasks.tabular.table import Cells, Table, are_numbers, names, numbers

_FEW = 20  # whole numbers; a column of more is one of a number


@dataclass(frozen=True)
class Target:
    """A column, and the names of its classes in order, or none where it is one of a number."""

    name: str
    classes: Sequence[str] = ()

    @classmethod
    def of(cls, about: About) -> Self:
        """Return the target of a data set that was loaded."""
        return cls(about["target"], () if "bins" in about else about["class_names"])

    @classmethod
    def found(cls, name: str, table: Table, outcome: Literal["auto", "class", "number"]) -> Self:
        """Return the target in the training part.

        Raises:
            DataError: the column is missing or holds texts where a number is to be foreseen; or there is one class alone.
        """
        cells = table.column(name)
        values, bad = numbers(cells)
        if outcome == "number" and not are_numbers(cells):
            text = f"texts, such as {cells[bad[0]]!r} in {table.where(bad[0])}" if bad else "nothing"
            raise DataError(f"the target {name!r} holds {text}, where numbers are expected: set data.outcome = 'class'")
        there = np.unique(values[~np.isnan(values)])
        few = len(there) <= _FEW and bool((there == np.rint(there)).all())
        if outcome == "number" or (outcome == "auto" and are_numbers(cells) and not few):
            return cls(name)
        classes = in_order({cell for cell in names(cells) if cell is not None})
        if len(classes) < 2:
            raise DataError(f"the target {name!r} has {len(classes)} classes in the training part: a belief needs 2 or more")
        return cls(name, tuple(map(printable, classes)))

    def read(self, cells: Cells) -> tuple[NDArray[np.float64], Mapping[int, str]]:
        """Return the numbers, or those of the classes, `[N]`, and what is wrong with rows that have none."""
        if self.classes:
            place = {name: float(number) for number, name in enumerate(self.classes)}
            texts = [cell if cell is None else printable(cell) for cell in names(cells)]
            values = np.array([place.get(text, np.nan) if text is not None else np.nan for text in texts], dtype=np.float64)
            unlike = f"is not among the training part's {len(self.classes)}"
        else:
            values, _ = numbers(cells)
            texts, unlike = list(cells), "is no finite number"
        said = {row: texts[row] for row in np.flatnonzero(np.isnan(values)).tolist()}
        missing = f"its target {self.name!r} is missing"
        gone = {row: text is None or text != text for row, text in said.items()}  # NaN is not itself
        return values, {row: missing if gone[row] else f"its target {text!r} {unlike}" for row, text in said.items()}

    def strata(self, values: NDArray[np.float64]) -> tuple[Labels, int]:
        """Return what every part is to have its share of, `[N]`, and how many there are: classes, or one stratum of numbers."""
        return (values.astype(np.int64), len(self.classes)) if self.classes else (np.zeros(len(values), dtype=np.int64), 1)
