"""Memory against time of a training step: what each method pays for what it saves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchsid.report.svg import INK, MUTED, SERIES, Drawing, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
Point = tuple[float, float]

TITLE = "Memory and time of a training step: lower left is better"
_COLUMNS = 3
_WIDTH, _HEIGHT = 300, 290  # of a panel, in CSS pixels
_LEAST_WIDTH = 460  # of the figure: its title has to fit
_FONT = 9.5
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
        grid = figure.subplots(lines, columns, squeeze=False).flat
        for axes, (title, group) in zip(grid, panels.items(), strict=False):
            _panel(axes, title, group)
        for axes in list(grid)[len(panels) :]:
            axes.axis("off")
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
    _label(axes, [row["contender"] for row in rows], points)


def _label(axes: "Axes", names: Sequence[str], points: Sequence[Point]) -> None:
    """Write each name beside its mark, on the first side where it covers neither a mark nor another name."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wide, tall = (right - left) / (_WIDTH - 60), (high - low) / (_HEIGHT - 70)  # of a pixel, nearly
    taken = [_box(x - 4 * wide, y - 4 * tall, 8 * wide, 8 * tall) for x, y in points]
    for mark, (name, (x, y)) in enumerate(zip(names, points, strict=True)):
        width, height = 0.56 * _FONT * len(name) * wide, 1.1 * _FONT * tall
        sides = [
            (x + 8 * wide, y - height / 2),
            (x - 8 * wide - width, y - height / 2),
            *((x - width / 2, y + sign * step * tall - height / 2) for step in (14, 24, 34) for sign in (1, -1)),
        ]
        boxes = [_box(*side, width, height) for side in sides]
        others = taken[:mark] + taken[mark + 1 :]
        free = [box for box in boxes if box[0] >= left and box[1] <= right and not any(_overlap(box, other) for other in others)]
        box = (free or boxes)[0]
        taken.append(box)
        axes.text(box[0], (box[2] + box[3]) / 2, name, va="center", fontsize=_FONT)


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, x + width, y, y + height


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
