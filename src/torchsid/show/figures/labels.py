"""Names beside the marks of a figure, so that no key is needed."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from torchsid.show.svg import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, right, bottom, top

_FONT = 9.5
_MARK, _LINE = 4.5, 1.0  # half the width of what is to stay visible, in points
_NEAR = 13  # that far above or below its mark, a name needs no line to it
_SOLID, _OUTSIDE = 100, 1000  # how bad it is to cover a mark or a name, and to leave the axes; a bit of a line counts 1

_START = {"left": 0.0, "center": 0.5, "right": 1.0}  # the share of a name that lies left of where it is fixed
_SIDES = [(8.0, 0.0, "left"), (-8.0, 0.0, "right")]  # where a name is fixed, from its mark: beside, above, below, at the corners
_SIDES += [
    (dx, sign * dy, side)
    for dy in (_NEAR, 24.0, 35.0)
    for dx, side in ((0.0, "center"), (4.0, "left"), (-4.0, "right"))
    for sign in (1, -1)
]


def label(axes: "Axes", names: Sequence[str], points: Sequence[Point]) -> None:
    """Write each name beside its mark, where it covers least of marks, names and lines; one that moved away gets a thin leader.

    Args:
        axes: with its limits set, in a figure that was laid out by `figure.draw_without_rendering()`.
        names: one a mark.
        points: of the marks.
    """
    scale = 72 / axes.figure.dpi
    frame: list[float] = [scale * edge for edge in (axes.bbox.x0, axes.bbox.x1, axes.bbox.y0, axes.bbox.y1)]

    centres = [(float(x), float(y)) for x, y in (scale * axes.transData.transform(point) for point in points)]
    taken = [(_around(centre, _MARK), _SOLID) for centre in centres]
    for line in axes.get_lines():
        taken += [(_around(bit, _LINE), 1) for bit in _bits(scale * line.get_transform().transform(line.get_xydata()))]

    def harm(box: Box) -> int:
        outside = box[0] < frame[0] or box[1] > frame[1] or box[2] < frame[2] or box[3] > frame[3]
        return _OUTSIDE * outside + sum(weight for other, weight in taken if _overlap(box, other))

    for name, point, (x, y) in zip(names, points, centres, strict=True):
        width = 0.56 * _FONT * len(name)
        boxes = [_box(x + dx - _START[side] * width, y + dy, width) for dx, dy, side in _SIDES]
        box, (dx, dy, side) = min(zip(boxes, _SIDES, strict=True), key=lambda choice: harm(choice[0]))
        taken.append((box, _SOLID))
        axes.annotate(
            name,
            point,
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=_FONT,
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkB": _MARK} if abs(dy) > _NEAR else None,
        ).set_in_layout(False)


def _bits(line: Iterable[Point]) -> list[Point]:
    """Return points that are at most 4 apart along a line."""
    bits: list[Point] = []
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = int(max(abs(x1 - x0), abs(y1 - y0)) // 4) + 2
        bits += zip(np.linspace(x0, x1, steps).tolist(), np.linspace(y0, y1, steps).tolist(), strict=True)
    return bits


def _around(point: Point, half: float) -> Box:
    return _box(point[0] - half, point[1], 2 * half, 2 * half)


def _box(left: float, middle: float, width: float, height: float = 1.1 * _FONT) -> Box:
    return left, left + width, middle - height / 2, middle + height / 2


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
