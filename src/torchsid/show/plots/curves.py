"""Curves over a numeric axis, such as epochs, stages or confidence, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    hollow: Sequence[bool] = ()  # points whose mark is not filled
    sizes: Sequence[float] = ()  # areas of the marks, as shares of the largest


def curves(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str = "",
    logarithmic: str = "",
    bottom: float | None = None,
    ticks: Mapping[float, str] | None = None,
    square: float | None = None,
    level: float | None = None,
    size: tuple[float, float] = (460, 270),
) -> Drawing:
    """Draw one line a series, its interval as a band; one without a number is left out, and not in the key.

    `x` names the horizontal axis, `y` what is drawn, with its unit, if the title does not. Which axes are `logarithmic` is `x`, `y`
    or `xy`; values that are not above 0 have no place on `y`. The vertical axis begins at `bottom`, if no value lies below.
    `ticks` are named places on the horizontal axis; None marks whole numbers. Both axes go from 0 to `square`, if it is given, and
    y = x is dashed; so is a line across at `level`. The size is in CSS pixels.
    """
    with canvas(*size) as (figure, axes):
        if "x" in logarithmic:
            axes.set_xscale("log", base=2)
        if "y" in logarithmic:
            axes.set_yscale("log")
        least = 0.0 if "y" in logarithmic else -np.inf
        drawn = {index: _arrays(line, least) for index, line in enumerate(lines)}
        drawn = {index: found for index, found in drawn.items() if np.isfinite(found[0]).any()}
        seen = [lines[index] for index in drawn]
        handles = [_draw(axes, index, lines[index], found, seen) for index, found in drawn.items()]
        if square is not None:
            axes.axline((0, 0), slope=1, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        if level is not None:
            axes.axhline(level, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
        axes.margins(x=0.04, y=0.08)
        _limits(axes, np.concatenate(list(drawn.values()), axis=1) if drawn else np.zeros((3, 0)), level, bottom)
        axes.set_xlabel(x)
        axes.set_title(y)
        if square is not None:
            axes.set(xlim=(0, square), ylim=(0, square))
            ticks = {fifth: f"{fifth:g}" for fifth in np.linspace(0, square, 6)}
        _ticks(axes, seen, ticks)
        if seen and len(lines) > 1:
            key(figure, [line.name for line in seen], handles)
        ends = (f"{lines[index].name}: {number(float(y[0]))} to {number(float(y[-1]))}" for index, (y, *_) in drawn.items())
        return finish(figure, title, "; ".join(ends) or "Nothing recorded")


def by_stage(
    title: str,
    lines: Mapping[str, Sequence[float | Point]],
    *,
    prior: bool = True,
    **look: Any,
) -> Drawing:
    """Draw values after each stage, by name `[L]`, or with the `prior`'s first, `[L+1]`; `look` is of `curves`.

    A network of one stage among deeper ones is a level.
    """
    depth = max((len(values) - prior for values in lines.values()), default=1)
    step = 1 if depth <= _FEW else depth // 8
    stages = [0] * prior + [stage for stage in range(1, depth + 1) if stage in {1, depth} or stage % step == 0]
    levels = {name for name, values in lines.items() if len(values) - prior == 1 and depth > 1}
    places = {name: range(1 - prior, 1 - prior + len(values)) for name, values in lines.items()}
    drawn = [Line(name, () if name in levels else places[name], own[-1:] if name in levels else own) for name, own in lines.items()]
    return curves(title, drawn, x="stage", ticks={stage: str(stage) if stage else "prior" for stage in stages}, **look)


def _draw(axes: "Axes", index: int, line: Line, found: NDArray[np.float64], lines: Sequence[Line]) -> object:
    """Draw one line, marks whole even at the edge, and return what stands for it in the key."""
    colour, style, shape = look(index)
    x, (y, low, high) = np.asarray(line.x, dtype=float), found
    if not len(x):
        x = np.array(sorted({place for other in lines for place in other.x}) or [0.0, 1.0])[[0, -1]]
        y, low, high, shape = y[[0, 0]], low[[0, 0]], high[[0, 0]], ""
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0, zorder=1)
    axes.plot(x, y, style, color=colour, lw=1.8, zorder=2, clip_on=False)
    gap = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    marked = ~gap[1:-1] & (len(x) <= _MARKED or gap[:-2] & gap[2:])  # of many points those that no line leads to
    few = shape and bool(marked.any())
    if line.sizes:
        sizes = 12 + 400 * np.asarray(line.sizes)
        axes.scatter(x, y, s=sizes, color=colour, marker=shape, alpha=0.85, lw=0, zorder=3, clip_on=False)
    elif few:
        hollow = np.array(line.hollow or [False] * len(x), dtype=bool)
        for those, fill in ((marked & ~hollow, colour), (marked & hollow, PAPER)):
            if those.any():  # an empty line that is not clipped would count at 0 when the figure is laid out
                axes.plot(x[those], y[those], shape, color=colour, mfc=fill, ms=4.5, zorder=3, clip_on=False)
    return axes.plot([], [], style + (shape if few else ""), color=colour, ms=4.5)[0]


def _limits(axes: "Axes", found: NDArray[np.float64], level: float | None, bottom: float | None) -> None:
    """Let an interval that is far wider than others run out of the figure."""
    values, *ends = found
    reach = np.fmax(values - ends[0], ends[1] - values)
    if axes.get_yscale() == "linear" and np.isfinite(reach).any():
        low, high = np.nanmin([*values, level or np.nan]), np.nanmax([*values, level or np.nan])
        room, shown = max(high - low, 1.3 * np.nanmedian(reach), 1e-3 * abs(high)) or 1.0, axes.get_ylim()
        axes.set_ylim(max(shown[0], low - room), min(shown[1], high + room))
    if bottom is not None and not (values < bottom).any():
        axes.set_ylim(bottom=bottom)


def _arrays(line: Line, least: float) -> NDArray[np.float64]:
    """Return values and the ends of their intervals, `[3, points]`; NaN where there is none, or it is not above `least`."""
    points = [y if isinstance(y, Point) else Point(y) for y in line.y]
    found = np.array(points, dtype=float).reshape(-1, 3).T
    return np.where(np.isfinite(found) & (found > least), found, np.nan)


def _ticks(axes: "Axes", lines: Sequence[Line], ticks: Mapping[float, str] | None) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()  # powers of ten alone may all lie outside
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 500 * low else (1.0,), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()
    if ticks is None:
        places = {place for line in lines for place in line.x} or {1}
        if len(places) == 1:
            axes.set_xticks([*places], [f"{place:g}" for place in places])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=min(8, max(1, int(max(places)))), integer=max(places) > 1))
        return
    texts, last, (low, high) = [], -np.inf, axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (1, 0)]))[:, 0]
    place_of = np.log2 if axes.get_xscale() == "log" else float
    for place, text in ticks.items():
        shown = (place_of(place) - last) >= _CROWDED * (place_of(high) - place_of(low))
        texts.append(text if shown else "")
        last = place_of(place) if shown else last
    axes.set_xticks(list(ticks), texts)
