"""What is gained against what it costs: a mark a contender, with its name, and the best trade-offs as a line."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torchsid.show.plots.points import Point
from torchsid.show.svg import MUTED, Drawing, canvas, finish, look
from torchsid.show.text import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FONT, _LINE = 9.5, 12.0  # of a name, and from one to the next, in points
_LETTERS = 30


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
        for index, mark in enumerate(marks):
            colour, _, shape = look(index)
            if mark.y.low is not None and mark.y.high is not None:
                axes.plot([mark.x, mark.x], [mark.y.low, mark.y.high], color=colour, lw=1.4, zorder=2)
            axes.plot(mark.x, mark.y.value, shape, color=colour, ms=6.5, zorder=3)
        axes.plot(*zip(*front(marks, higher=higher), strict=True), color=MUTED, lw=1.4, zorder=1)
        axes.set(xlabel=x, xlim=(0, 1.1 * max(mark.x for mark in marks)))
        axes.set_title(y)
        axes.margins(y=0.15)
        figure.draw_without_rendering()  # now everything has its place
        _label(axes, marks)
        return finish(figure, title, "; ".join(f"{mark.name} {number(mark.y.value)} for {number(mark.x)}" for mark in marks))


def front(marks: Sequence[Mark], *, higher: bool) -> Iterator[tuple[float, float]]:
    """Yield the points that no other one beats or equals in both ways, from left to right."""
    best: float | None = None
    for x, cost in sorted({(mark.x, -mark.y.value if higher else mark.y.value) for mark in marks}):
        if best is None or cost < best:
            best = cost
            yield x, -cost if higher else cost


def _label(axes: "Axes", marks: Sequence[Mark]) -> None:
    """Write each name beside its mark, on the side with room, moved up where it would cover another."""
    scale, right = 72 / axes.figure.dpi, axes.bbox.x1 * 72 / axes.figure.dpi
    placed: list[tuple[float, float, float]] = []  # left, right and height of the names written
    centres = [tuple(scale * axes.transData.transform((mark.x, mark.y.value))) for mark in marks]
    for mark, (x, y) in sorted(zip(marks, centres, strict=True), key=lambda pair: pair[1][1]):
        name = shortened(mark.name, _LETTERS)
        width = 0.56 * _FONT * len(name)
        side = 1 if x + 8 + width <= right else -1
        left, up = (x + 8, y) if side > 0 else (x - 8 - width, y)
        while any(left < other[1] and other[0] < left + width and abs(up - other[2]) < _LINE for other in placed):
            up += 2.0
        placed.append((left, left + width, up))
        arrow = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkB": 4} if up > y + _LINE else None
        text: dict[str, Any] = {"ha": "left" if side > 0 else "right", "va": "center", "fontsize": _FONT, "arrowprops": arrow}
        text |= {"xytext": (8 * side, up - y), "textcoords": "offset points"}
        axes.annotate(name, (mark.x, mark.y.value), **text).set_in_layout(False)
