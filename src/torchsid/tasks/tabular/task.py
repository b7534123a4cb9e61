"""Rows of tables, of which one column is to be foreseen: a class or a number."""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from torchsid.durable import file_sha256
from torchsid.errors import DataError, bullets, printable, some_of
from torchsid.settings import Share, path_of
from torchsid.tasks.domain import PARTS, About, Floor, Samples, Splits, Task
from torchsid.tasks.linear import floor_of
from torchsid.tasks.numbers import BinsConfig, Numbers
from torchsid.tasks.splitting import every_fifth, hold_out
from torchsid.tasks.tables import KINDS, files_of, left_out
from torchsid.tasks.tabular.columns import columns_of, fitted
from torchsid.tasks.tabular.rows import Rows
from torchsid.tasks.tabular.shipped import TARGETS, shipped
from torchsid.tasks.tabular.table import Table, are_numbers, one_row, read_table
from torchsid.tasks.tabular.target import Target

_SHOWN = 8  # columns of a row


@dataclass(frozen=True, kw_only=True)
class Tabular(Task):
    """Rows of tables, float64 `[N, D]`, NaN for missing values; the target is one of the columns.

    The target is a class if it is text or a few whole numbers; else a number, as a belief over bins. Means, medians, names and
    bins come from the training part alone. Files are Parquet, CSV, TSV or JSON Lines; of a folder,
    `train`, `validation` and `test` are the parts; without a test part a fifth of the rows is kept for testing.
    """

    path: str = ""
    """A file, or the folder of the parts."""
    name: str = ""
    """Without a path, a table of scikit-learn: `breast-cancer`, `diabetes`, `iris` or `wine`. With one, the prefix of the
    files' names in a folder with several data sets."""
    target: str = ""
    """Column to predict; empty takes `target`, or that of a table of scikit-learn."""
    outcome: Literal["auto", "class", "number"] = "auto"
    """What to predict; `auto` takes texts, and at most 20 different whole numbers, for classes."""
    ignore: list[str] = field(default_factory=list)
    """Columns that are not read, such as an identifier."""
    categorical: list[str] = field(default_factory=list)
    """Columns of numbers that are names, such as a postal code."""
    missing: list[str] = field(default_factory=lambda: ["", "?", "NA", "N/A", "NaN", "nan", "null", "None"])
    """Texts that mean a missing value."""
    validation: Share = 0.1
    """Share of the training part that is held out, the same in every class, if the data have no validation part."""
    fold: Annotated[int, Ge(0), Le(4)] | Literal["seed"] = 4
    """Which fifth of the rows is for testing, if the data have no test part; `seed` takes another one with every seed."""
    bins: BinsConfig = field(default_factory=BinsConfig)
    """The belief about a number."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """A row without a target, with one that training does not know, or with a text where numbers are expected: stop, or leave it
    out and say so."""

    known: About | None = field(default=None, init=False, repr=False)
    """What another data set's training part was found to be, instead of this one's; see `like`."""

    judged_by = "kl"

    def like(self, about: About) -> "Tabular":
        """Return the task with the columns, classes and bins of another data set; see `Task.like`."""
        task = copy(self)
        object.__setattr__(task, "known", about)
        return task

    def load(self, seed: int) -> Splits:
        """Read the tables, divide them, and fit columns and bins on the training part."""
        tables, fingerprint = self._tables()
        if not len(tables["train"]):
            raise DataError(f"{printable(self.path)} has no rows to learn from")
        target = Target.of(self.known) if self.known else self._found(tables["train"])
        of_names = self._of_names(tables["train"], target)
        parts, problems = dict[str, Rows](), list[str]()
        for part, table in tables.items():
            parts[part], bad = Rows.of(table, of_names, target)
            problems += bad
        notes = [note for table in tables.values() for note in table.notes] + left_out(problems, self.on_bad_sample)
        if not len(tables["test"]):
            labels, _ = target.strata(parts["train"].outcome)
            fold = seed % 5 if self.fold == "seed" else self.fold
            parts["train"], parts["test"] = map(parts["train"].take, every_fifth(labels, fold))
        if not len(tables["validation"]):
            labels, count = target.strata(parts["train"].outcome)
            parts["train"], parts["validation"] = map(parts["train"].take, hold_out(labels, self.validation, count, seed))
        if not len(parts["train"]):
            raise DataError(f"{printable(self.path or self.name)} has too few rows: none is left to learn from")
        columns, told = (columns_of(self.known), []) if self.known else fitted(parts["train"].columns)
        if not columns:
            raise DataError(f"no column is left to learn from:{bullets(told)}")
        outcomes: dict[str, Any] = {"num_classes": len(target.classes), "class_names": list(target.classes)}
        numbers = None
        if not target.classes:
            values = {part: torch.from_numpy(rows.outcome) for part, rows in parts.items()}
            numbers = Numbers.of(self.known or {}) or Numbers.fitted(values["train"], self.bins)
            told += [note for part in PARTS for note in numbers.beyond(values[part], part, self.bins.outside)]
            outcomes = numbers.about()
        made = {part: _samples(rows, rows.stored(columns), numbers) for part, rows in parts.items()}
        about = {
            "name": printable(self.name or path_of(self.path).name),
            "target": target.name,
            "columns": [asdict(column) for column in columns],
            **outcomes,
        }
        fingerprint |= {f"arrays/{part}": samples.sha256() for part, samples in made.items()}
        told = [printable(note) for note in [*notes, *told]]
        return Splits(made["train"], made["validation"], made["test"], about, fingerprint, tuple(told))

    def example(self, about: About) -> Tensor:
        """Return two rows of zeros."""
        return torch.zeros(2, sum(column.width for column in columns_of(about)))

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        """Return rows as a network reads them, float32 `[B, F]`: numbers standardised, names one-hot, what is missing marked."""
        return torch.cat([column.read(inputs[:, place]) for place, column in enumerate(columns_of(about))], dim=-1)

    def show(self, inputs: Tensor, about: About) -> str:
        """Return the first columns of a row."""
        named = zip(columns_of(about), inputs.tolist(), strict=True)
        return f"<code>{escape(some_of([f'{column.name} {column.told(value)}' for column, value in named], _SHOWN))}</code>"

    def floor(self, splits: Splits) -> Floor | None:
        """Return what is linear in the columns reaches: ridge or logistic regression; None of very large tables."""
        return floor_of(splits, lambda inputs: self.prepare(inputs, splits.about))

    def readable(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Return the tables in a folder."""
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS), []

    def read(self, name: str, about: About) -> Tensor:
        """Return the rows of a file, or of a JSON object `{"age": 50, …}` one, as they are stored, float64 `[n, D]`."""
        table = one_row(name, self.missing) if name.lstrip().startswith("{") else read_table([Path(name)], self.missing)
        columns = columns_of(about)
        rows, problems = Rows.of(table, {column.name: bool(column.names) for column in columns})
        if problems or not len(rows):
            raise DataError(f"{printable(name[:60])} cannot be used:{bullets(problems or ['there are no rows'])}")
        return rows.stored(columns)

    def _tables(self) -> tuple[Mapping[str, Table], dict[str, str]]:
        """Return the table of each part, without rows where there is none, and the SHA-256 of the files."""
        if not self.path:
            if not self.name:
                raise DataError(f"a table is read from a file: set data.path, or data.name to one of {', '.join(TARGETS)}")
            return {"train": shipped(self.name), **{part: Table({}, []) for part in PARTS[1:]}}, {}
        files = files_of(path_of(self.path), self.name)
        hashes = {file.name: file_sha256(file) for part in PARTS for file in files[part]}
        return {part: read_table(files[part], self.missing, self.ignore) for part in PARTS}, hashes

    def _found(self, train: Table) -> Target:
        """Return the column that is to be foreseen, as the training part has it."""
        name = self.target or ("target" if self.path else TARGETS[self.name])
        if name not in train.columns and not self.target:
            where, there = train.where(0), ", ".join(map(printable, train.columns))
            raise DataError(f"{where.partition(',')[0]} has no column 'target': set data.target to one of {there}")
        return Target.found(name, train, self.outcome)

    def _of_names(self, train: Table, target: Target) -> Mapping[str, bool]:
        """Return the columns that are read, and which of them are of names."""
        if self.known:
            return {column.name: bool(column.names) for column in columns_of(self.known)}
        for name in self.categorical:
            train.column(name)  # or it is an error
        features = {name: cells for name, cells in train.columns.items() if name not in (target.name, *self.ignore)}
        return {name: name in self.categorical or not are_numbers(cells) for name, cells in features.items()}


def _samples(rows: Rows, inputs: Tensor, numbers: Numbers | None) -> Samples:
    values, places = torch.from_numpy(rows.outcome), torch.from_numpy(rows.place)
    if numbers is None:
        return Samples(inputs, values.long(), rows=places)
    return Samples(inputs, numbers.targets(values), rows=places, value=values)
