"""Memory against time of a training step: what each method pays for what it saves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchsid.show.figures.labels import label
from torchsid.show.svg import INK, MUTED, SERIES, Drawing, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
Point = tuple[float, float]

TITLE = "Memory and time of a training step: lower left is better"
_COLUMNS = 3
_WIDTH, _HEIGHT = 300, 290  # of a panel, in CSS pixels
_LEAST_WIDTH = 460  # of the figure: its title has to fit
_MARKS = {  # shape and colour, so that the shape alone tells in grey
    "sid": ("o", SERIES[0]),
    "backprop": ("s", INK),
    "checkpointing": ("^", SERIES[1]),
    "accumulation": ("D", SERIES[2]),
    "deep supervision": ("v", SERIES[3]),
}


def pareto(rows: Sequence[Row]) -> Drawing:
    """Draw kept bytes against step time, both over backpropagation's: a panel a model, a mark a contender, the front as a line.

    Args:
        rows: of `torchsid bench step` on trunks; those without times are left out.
    """
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row["step_over_backprop"] is not None and row["kept_over_backprop"] is not None:
            panels.setdefault(_title(row), []).append(row)
    columns = max(min(len(panels), _COLUMNS), 1)
    lines = max(-(-len(panels) // columns), 1)
    with canvas(max(_WIDTH * columns, _LEAST_WIDTH), _HEIGHT * lines) as (figure, only):
        only.remove()
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, (title, group) in zip(grid, panels.items(), strict=False):
            _panel(axes, title, group)
        for axes in grid[len(panels) :]:
            axes.axis("off")
        figure.draw_without_rendering()  # now every panel has its place
        for axes, group in zip(grid, panels.values(), strict=False):
            label(axes, [row["contender"] for row in group], list(map(_position, group)))
        described = "; ".join(f"{title}: {', '.join(map(_words, group))}" for title, group in panels.items())
        return finish(figure, TITLE, described)


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats or equals in both coordinates, from left to right."""
    best: list[Point] = []
    for point in sorted(set(points)):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best


def _position(row: Row) -> Point:
    return row["kept_over_backprop"], row["step_over_backprop"]


def _words(row: Row) -> str:
    kept, step = _position(row)
    return f"{row['contender']} {kept:.2f} of the bytes, {step:.2f} of the time"


def _title(row: Row) -> str:
    blocks = f"{row['blocks']} blocks" if row["blocks"] else ""
    return ", ".join(filter(None, [row["model"], blocks, row["variant"] if row["variant"] != "float32" else ""]))


def _panel(axes: "Axes", title: str, rows: Sequence[Row]) -> None:
    points = [_position(row) for row in rows]
    right = 1.3 * max(x for x, _ in points)  # room for a label
    low, high = min(y for _, y in points), max(y for _, y in points)
    margin = max(0.15 * (high - low), 0.05)
    axes.set(title=title, xlim=(0, right), ylim=(low - margin, high + margin))
    axes.set(xlabel="kept bytes / backpropagation", ylabel="step time / backpropagation")
    axes.axhline(1, color=MUTED, lw=0.8, ls=":")
    axes.axvline(1, color=MUTED, lw=0.8, ls=":")
    line = front(points)
    axes.plot([x for x, _ in line], [y for _, y in line], color=MUTED, lw=1.4, zorder=1)
    for row, (x, y) in zip(rows, points, strict=True):
        shape, colour = _MARKS[row["contender"] if row["contender"] in _MARKS else "sid"]
        axes.plot(x, y, shape, color=colour, ms=6.5, zorder=3)
