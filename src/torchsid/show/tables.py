"""Tables of text, for the page and for a terminal, and numbers as text, the same on both."""

from collections.abc import Iterable
from math import isfinite, isnan
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell: what it says, and its interval or remark beneath."""

    value: str
    detail: str = ""
    mark: str = ""  # `▲` or `▼` where a difference is resolved: its interval excludes zero
    shade: float = 0  # how strongly it is coloured, to 1


class Table(NamedTuple):
    """A table; every row has one cell a column, the first of which names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    kind: str = "table"  # `facts` for texts that are broken into lines, `passage` for narrow cells below the words of a text

    def lines(self) -> list[list[str]]:
        """Return the rows as plain text: value and mark, then the detail on a line of its own."""
        return [["\n".join(filter(None, (f"{cell.value} {cell.mark}".rstrip(), cell.detail))) for cell in row] for row in self.rows]


NOTHING = Cell("–")  # where there is no number
MARKS = "▲ ▼: the interval excludes zero"  # what the marks mean, for a caption


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


def percent(share: float, digits: int = 2) -> str:
    """Return `97.22 %` for 0.9722, with a space that does not break."""
    return number(share) if not isfinite(share) else f"{minus(f'{100 * share:.{digits}f}')}\u00a0%"


def number(value: float, sign: str = "") -> str:
    """Return three significant digits, thousands separated, with a `+` where asked for.

    >>> number(1234.5), number(-0.01234), number(float("inf")), number(1.5, "+")
    ('1,234', '−0.0123', 'infinite', '+1.50')
    """
    if not isfinite(value):
        return "unknown" if isnan(value) else "infinite"
    return minus(f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign}#.3g}")


def minus(text: str) -> str:
    """Return the text of a number with a minus sign in place of a hyphen."""
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> duration(8.4), duration(200), duration(7500)
    ('8.4 s', '3 min 20 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def shortened(name: str, letters: int) -> str:
    """Return a name of at most so many letters, with its beginning and its end, which may be all that tells it apart.

    >>> shortened("photos of my dog", 10)
    'photos…dog'
    """
    end = letters // 3
    return name if len(name) <= letters else f"{name[: letters - 1 - end]}…{name[len(name) - end :]}"
