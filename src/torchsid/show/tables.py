"""Tables of text, for the page and for a terminal."""

from collections.abc import Iterable
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell: what it says, and its interval or remark beneath."""

    value: str
    detail: str = ""
    mark: str = ""
    """`▲` or `▼` where a difference is resolved: its interval excludes zero."""


class Table(NamedTuple):
    """A table; every row has one cell a column, the first of which names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    kind: str = "table"
    """`facts` for texts that are broken into lines."""

    def lines(self) -> list[list[str]]:
        """Return the rows as plain text: value and mark, then the detail on a line of its own."""
        return [["\n".join(filter(None, (f"{cell.value} {cell.mark}".rstrip(), cell.detail))) for cell in row] for row in self.rows]


NOTHING = Cell("–")
"""Where there is no number."""
MARKS = "▲ ▼: the interval excludes zero"
"""What the marks mean, for a caption."""


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell | str]], caption: str = "") -> Table:
    """Return a table whose cells may be given as plain text."""
    cells = (tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(tuple(columns), tuple(cells), caption)


def facts(columns: Iterable[str], rows: Iterable[Iterable[Cell | str]], caption: str = "") -> Table:
    """Return a table of texts, which may be long: they are broken into lines."""
    return table(columns, rows, caption)._replace(kind="facts")


def resolved(difference: float, low: float | None, high: float | None) -> str:
    """Return the mark of a difference with this interval: up, down, or none."""
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "▲" if difference > 0 else "▼"
