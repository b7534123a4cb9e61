"""Points with intervals: one lane a group, who lies where and how far apart; or what is gained against what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from torchsid.show.svg import INK, MUTED, PAPER, SERIES, Drawing, canvas, finish, key, look
from torchsid.show.tables import number, shortened

_LANE, _MARK = 26, 9  # CSS pixels: a lane of one mark, and what each further mark adds
_LETTERS = 28  # of a lane's name


class Point(NamedTuple):
    """A value and its interval, if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def points(title: str, lanes: Mapping[str, Mapping[str, Point]], *, zero: bool = False) -> Drawing:
    """Draw a mark at every value and a line along its interval; the title says the unit, and the axis has the 0 if `zero`.

    Lanes are by name the points of their series, of which those that are no number are left out; a lane with one needs no key.
    """
    lanes = {lane: {name: point for name, point in own.items() if isfinite(point.value)} for lane, own in lanes.items()}
    names = list(dict.fromkeys(name for lane in lanes.values() for name in lane))
    heights = [_LANE + _MARK * max(len(lane) - 1, 0) for lane in lanes.values()]
    with canvas(460, sum(heights) + 46) as (figure, axes):
        middles, top, handles = [], 0.0, {}
        for lane, height in zip(lanes.values(), heights, strict=True):
            for place, (name, point) in enumerate(lane.items()):
                colour, _, shape = look(names.index(name))
                y = top + (_LANE / 2 + _MARK * place)
                if point.low is not None and point.high is not None:
                    axes.plot([point.low, point.high], [y, y], color=colour, lw=1.6)
                handles[name] = axes.plot(point.value, y, shape, color=colour, ms=5.5, clip_on=False)[0]
            middles.append(top + height / 2)
            top += height
        axes.set_ylim(max(top, 1), 0)
        if zero:
            axes.set_xlim(left=min(0, axes.dataLim.x0))
        axes.set_yticks(middles, [shortened(name, _LETTERS) for name in lanes], fontsize=10, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        if any(len(lane) > 1 for lane in lanes.values()):
            key(figure, names, [handles[name] for name in names])
        said = [[f"{name} {number(point.value)}".strip() for name, point in own.items()] for own in lanes.values()]
        return finish(figure, title, "; ".join(f"{lane}: {', '.join(each)}" for lane, each in zip(lanes, said, strict=True)))


class Mark(NamedTuple):
    """A contender: its cost, and what it reaches."""

    name: str
    x: float
    y: Point


def tradeoff(title: str, marks: Sequence[Mark], *, x: str, y: str, higher: bool = False) -> Drawing:
    """Draw y against x, where less x is better, and less y unless `higher`; a mark that lacks a number is left out."""
    with canvas(460, 290) as (figure, axes):
        handles, whole = [], {index: mark for index, mark in enumerate(marks) if isfinite(mark.x) and isfinite(mark.y.value)}
        for index, mark in whole.items():
            colour, _, shape = look(index)
            if mark.y.low is not None and mark.y.high is not None:
                axes.plot([mark.x, mark.x], [mark.y.low, mark.y.high], color=colour, lw=1.4, zorder=2)
            fill = colour if index < len(SERIES) else PAPER  # the same marks again, hollow
            handles += axes.plot(mark.x, mark.y.value, shape, color=colour, mfc=fill, ms=6.5, zorder=3, clip_on=False)
        axes.plot(*np.array(list(front([*whole.values()], higher=higher))).reshape(-1, 2).T, color=MUTED, lw=1.4, zorder=1)
        axes.margins(x=0.1, y=0.15)
        axes.set(xlabel=x)
        axes.set_xlim(left=min(0, axes.dataLim.x0))
        axes.set_title(y)
        key(figure, [mark.name for mark in whole.values()], handles)
        said = (f"{mark.name} {number(mark.y.value)} for {number(mark.x)}" for mark in whole.values())
        return finish(figure, title, "; ".join(said))


def front(marks: Sequence[Mark], *, higher: bool) -> Iterator[tuple[float, float]]:
    """Yield the points that no other one beats or equals in both ways, from left to right."""
    best: float | None = None
    for x, cost in sorted({(mark.x, -mark.y.value if higher else mark.y.value) for mark in marks}):
        if best is None or cost < best:
            best = cost
            yield x, -cost if higher else cost
