"""Points with intervals, one lane a group: who lies where, and how far apart."""

from collections.abc import Mapping
from typing import NamedTuple

from torchsid.show.svg import INK, Drawing, canvas, finish, key, look
from torchsid.show.text import number, shortened

_LANE, _MARK = 26, 9  # CSS pixels: a lane of one mark, and what each further mark adds
_LETTERS = 28  # of a lane's name


class Point(NamedTuple):
    """A value and its interval, if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def points(title: str, lanes: Mapping[str, Mapping[str, Point]], *, zero: bool = False) -> Drawing:
    """Draw a mark at every value and a line along its interval.

    Args:
        title: of the figure, with the unit.
        lanes: by name the points of its series; a lane with one needs no key.
        zero: whether the axis begins at 0.
    """
    names = list(dict.fromkeys(name for lane in lanes.values() for name in lane))
    heights = [_LANE + _MARK * (len(lane) - 1) for lane in lanes.values()]
    with canvas(460, sum(heights) + 46) as (figure, axes):
        middles, top, handles = [], 0.0, {}
        for lane, height in zip(lanes.values(), heights, strict=True):
            for place, (name, point) in enumerate(lane.items()):
                colour, _, shape = look(names.index(name))
                y = top + (_LANE / 2 + _MARK * place)
                if point.low is not None and point.high is not None:
                    axes.plot([point.low, point.high], [y, y], color=colour, lw=1.6)
                handles[name] = axes.plot(point.value, y, shape, color=colour, ms=5.5)[0]
            middles.append(top + height / 2)
            top += height
        axes.set_ylim(max(top, 1), 0)
        if zero:
            axes.set_xlim(left=0)
        axes.set_yticks(middles, [shortened(name, _LETTERS) for name in lanes], fontsize=10, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        if any(len(lane) > 1 for lane in lanes.values()):
            key(figure, names, [handles[name] for name in names])
        said = {
            lane: ", ".join(f"{name} {number(point.value)}".strip() for name, point in own.items()) for lane, own in lanes.items()
        }
        return finish(figure, title, "; ".join(f"{lane}: {points}" for lane, points in said.items()))
