"""What is gained against what it costs: a mark a contender, and the best trade-offs as a line."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torchsid.show.plots.points import Point
from torchsid.show.svg import MUTED, PAPER, SERIES, Drawing, canvas, finish, key, look
from torchsid.show.text import number


class Mark(NamedTuple):
    """A contender: its cost, and what it reaches."""

    name: str
    x: float
    y: Point


def tradeoff(title: str, marks: Sequence[Mark], *, x: str, y: str, higher: bool = False) -> Drawing:
    """Draw y against x, where less x is better, and less y unless `higher`.

    Args:
        title: of the figure.
        marks: in the order that gives them their colours.
        x: name and unit of the cost.
        y: name and unit of what is reached.
        higher: whether more y is better.
    """
    with canvas(460, 290) as (figure, axes):
        handles = []
        for index, mark in enumerate(marks):
            colour, _, shape = look(index)
            if mark.y.low is not None and mark.y.high is not None:
                axes.plot([mark.x, mark.x], [mark.y.low, mark.y.high], color=colour, lw=1.4, zorder=2)
            fill = colour if index < len(SERIES) else PAPER  # the same marks again, hollow
            handles += axes.plot(mark.x, mark.y.value, shape, color=colour, mfc=fill, ms=6.5, zorder=3)
        axes.plot(*zip(*front(marks, higher=higher), strict=True), color=MUTED, lw=1.4, zorder=1)
        axes.set(xlabel=x, xlim=(0, 1.1 * max(mark.x for mark in marks)))
        axes.set_title(y)
        axes.margins(y=0.15)
        key(figure, [mark.name for mark in marks], handles)
        return finish(figure, title, "; ".join(f"{mark.name} {number(mark.y.value)} for {number(mark.x)}" for mark in marks))


def front(marks: Sequence[Mark], *, higher: bool) -> Iterator[tuple[float, float]]:
    """Yield the points that no other one beats or equals in both ways, from left to right."""
    best: float | None = None
    for x, cost in sorted({(mark.x, -mark.y.value if higher else mark.y.value) for mark in marks}):
        if best is None or cost < best:
            best = cost
            yield x, -cost if higher else cost
