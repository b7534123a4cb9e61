"""Curves over a numeric axis, such as epochs, stages or confidence, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchsid.show.plots.points import Point
from torchsid.show.svg import MUTED, PAPER, Drawing, canvas, finish, key, look
from torchsid.show.tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKED = 24  # up to so many points each has its mark
_CROWDED = 0.07  # of the axis: nearer ticks share a text
_FEW = 12  # stages that all have a tick


@dataclass(frozen=True)
class Line:
    """A curve: `y` at `x`, or one level where `x` is empty; NaN is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float | Point]
    hollow: Sequence[bool] = ()
    """Points whose mark is not filled."""
    sizes: Sequence[float] = ()
    """Areas of the marks, as shares of the largest."""


def curves(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str = "",
    logarithmic: str = "",
    bottom: float | None = None,
    ticks: Mapping[float, str] | None = None,
    diagonal: bool = False,
    level: float | None = None,
    size: tuple[float, float] = (460, 270),
) -> Drawing:
    """Draw one line a series, its interval as a band.

    Args:
        title: of the figure.
        lines: in the order that gives them their colours.
        x: name of the horizontal axis.
        y: name and unit of what is drawn, if the title does not say it.
        logarithmic: which axes are: `x`, `y` or `xy`.
        bottom: where the vertical axis begins; None fits it to the values.
        ticks: places on the horizontal axis with their names; None marks whole numbers.
        diagonal: whether y = x is drawn, dashed.
        level: of a dashed line across.
        size: width and height in CSS pixels.
    """
    with canvas(*size) as (figure, axes):
        if "x" in logarithmic:
            axes.set_xscale("log", base=2)
        if "y" in logarithmic:
            axes.set_yscale("log")
        handles = [_draw(axes, index, line, lines) for index, line in enumerate(lines)]
        if diagonal:
            axes.axline((0, 0), slope=1, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        if level is not None:
            axes.axhline(level, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.margins(x=0.04, y=0.08)
        _limits(axes, lines, level, bottom)
        axes.set_xlabel(x)
        axes.set_title(y)
        _ticks(axes, lines, ticks)
        if len(lines) > 1:
            key(figure, [line.name for line in lines], handles)
        ends = (f"{line.name}: {number(float(y[0]))} to {number(float(y[-1]))}" for line in lines if len(y := _arrays(line)[0]))
        return finish(figure, title, "; ".join(ends) or "Nothing recorded")


def by_stage(
    title: str,
    lines: Mapping[str, Sequence[float | Point]],
    *,
    prior: bool = True,
    logarithmic: bool = False,
    bottom: float | None = None,
    size: tuple[float, float] = (460, 270),
) -> Drawing:
    """Draw values after each stage.

    Args:
        title: of the figure, with the unit.
        lines: by name one value a stage, `[L]`, or with the prior's first, `[L+1]`. A network of one stage among deeper ones is a
            level.
        prior: whether the values begin with the prior's.
        logarithmic: whether the vertical axis is.
        bottom: where the vertical axis begins.
        size: width and height in CSS pixels.
    """
    depth = max((len(values) - prior for values in lines.values()), default=1)
    step = 1 if depth <= _FEW else depth // 8
    stages = [0] * prior + [stage for stage in range(1, depth + 1) if stage in {1, depth} or stage % step == 0]
    levels = {name for name, values in lines.items() if len(values) - prior == 1 and depth > 1}
    return curves(
        title,
        [
            Line(name, (), values[-1:]) if name in levels else Line(name, range(1 - prior, 1 - prior + len(values)), values)
            for name, values in lines.items()
        ],
        x="stage",
        logarithmic="y" if logarithmic else "",
        bottom=bottom,
        ticks={stage: str(stage) if stage else "prior" for stage in stages},
        size=size,
    )


def _draw(axes: "Axes", index: int, line: Line, lines: Sequence[Line]) -> object:
    """Draw one line and return what stands for it in the key."""
    colour, style, shape = look(index)
    x, (y, low, high) = np.asarray(line.x, dtype=float), _arrays(line)
    if not len(x) and len(y):
        x = np.array(sorted({place for other in lines for place in other.x}) or [0.0, 1.0])[[0, -1]]
        y, low, high, shape = y[[0, 0]], low[[0, 0]], high[[0, 0]], ""
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0, zorder=1)
    axes.plot(x, y, style, color=colour, lw=1.8, zorder=2)
    few = shape and len(x) <= _MARKED
    if line.sizes:
        axes.scatter(x, y, s=12 + 400 * np.asarray(line.sizes), color=colour, marker=shape, alpha=0.85, lw=0, zorder=3)
    elif few:
        axes.plot(x, y, shape, color=colour, ms=4.5, zorder=3)
        hollow = np.array(line.hollow or [False] * len(x))
        axes.plot(x[hollow], y[hollow], shape, color=colour, mfc=PAPER, ms=4.5, zorder=4)
    return axes.plot([], [], style + (shape if few else ""), color=colour, ms=4.5)[0]


def _limits(axes: "Axes", lines: Sequence[Line], level: float | None, bottom: float | None) -> None:
    """Let an interval that is far wider than others run out of the figure."""
    values, *ends = np.concatenate([_arrays(line) for line in lines], axis=1) if lines else np.zeros((3, 0))
    halves = (ends[1] - ends[0]) / 2
    if axes.get_yscale() == "linear" and np.isfinite(halves).any():
        low, high = np.nanmin([*values, level or np.nan]), np.nanmax([*values, level or np.nan])
        room, shown = max(high - low, 1.3 * np.nanmedian(halves)) or 1.0, axes.get_ylim()
        axes.set_ylim(max(shown[0], low - room), min(shown[1], high + room))
    if bottom is not None:
        axes.set_ylim(bottom=bottom)


def _arrays(line: Line) -> NDArray[np.float64]:
    """Return values and the ends of their intervals, `[3, points]`; NaN where there is none."""
    points = [y if isinstance(y, Point) else Point(y) for y in line.y]
    found = np.array(points, dtype=float).reshape(-1, 3).T
    return np.where(np.isfinite(found), found, np.nan)


def _ticks(axes: "Axes", lines: Sequence[Line], ticks: Mapping[float, str] | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))  # powers alone may all lie outside
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()
    if ticks is None:
        longest = max((place for line in lines for place in line.x), default=1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=min(8, max(1, int(longest))), integer=longest > 1))
        return
    texts, last, (low, high) = [], -np.inf, axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (1, 0)]))[:, 0]
    place_of = np.log2 if axes.get_xscale() == "log" else float
    for place, text in ticks.items():
        shown = (place_of(place) - last) >= _CROWDED * (place_of(high) - place_of(low))
        texts.append(text if shown else "")
        last = place_of(place) if shown else last
    axes.set_xticks(list(ticks), texts)
