"""Sound rows of a table, with the outcome of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torchsid.tasks.splitting import Labels
from torchsid.tasks.tabular.columns import Column
from torchsid.tasks.tabular.table import Cells, Table, names, numbers
from torchsid.tasks.tabular.target import Target


@dataclass(frozen=True)
class Rows:
    """Columns by name, float64 where they are of numbers and objects where of names; outcome and place in the table of each row."""

    columns: Mapping[str, Cells]
    outcome: NDArray[np.float64]
    place: Labels

    @classmethod
    def of(cls, table: Table, of_names: Mapping[str, bool], target: Target | None = None) -> "tuple[Rows, list[str]]":
        """Return the rows that can be used, and a sentence for each that cannot: which it is, and what is wrong with it.

        Args:
            table: may be without rows, and then without columns.
            of_names: whether each column is one of names.
            target: None where outcomes are not asked for.

        Raises:
            DataError: a column is missing.
        """
        count, columns = len(table), dict[str, Cells]()
        problems = dict[int, str]()
        for name, is_names in of_names.items() if count else ():
            cells = table.column(name)
            columns[name], bad = (names(cells), []) if is_names else numbers(cells)
            for row in bad:
                problems.setdefault(row, f"{cells[row]!r} in column {name!r}, where numbers are expected")
        outcome = np.zeros(count)
        if target and count:
            outcome, wrong = target.read(table.column(target.name))
            problems = {**problems, **wrong}
        everything = cls(columns or {name: np.zeros(0) for name in of_names}, outcome, np.arange(count))
        sound = np.setdiff1d(everything.place, list(problems)) if problems else everything.place
        return everything.take(sound), [f"{table.where(row)}: {problems[row]}" for row in sorted(problems)]

    def __len__(self) -> int:
        return len(self.place)

    def take(self, index: Labels) -> "Rows":
        """Return some rows."""
        return Rows({name: cells[index] for name, cells in self.columns.items()}, self.outcome[index], self.place[index])

    def stored(self, columns: Sequence[Column]) -> Tensor:
        """Return the columns as they are stored, float64 `[N, D]`."""
        return torch.from_numpy(np.stack([column.stored(self.columns[column.name]) for column in columns], axis=1))
