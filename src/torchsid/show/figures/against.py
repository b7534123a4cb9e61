"""A number of every method against a setting, with intervals: what moves when the setting does."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple, Self

from torchsid.show.figures.labels import label
from torchsid.show.svg import PAPER, Drawing, canvas, finish, series
from torchsid.show.wording import number
from torchsid.study.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 460, 300  # CSS pixels
_SHAPES = "os^DvPX"  # with the colours, so that the shape alone tells in grey; hollow the second time
_DODGE = 0.012  # between the marks of two methods at one value, as a share of the axis
_SPREAD = 0.7  # of the distance between two names, over which the marks of all methods spread
_LETTERS = 56  # in a line below the axis
_ROOM = 0.34  # right of the last value, for the names
_DIRECT = 5  # methods whose names stand beside their marks; more have a legend
_LONG = 20  # letters of a name that stands there
_CROWDED = 0.08  # nearer ticks share a text


class Mark(NamedTuple):
    """A method at one value: its place on the axis, and what it reaches there."""

    x: float
    interval: Interval


@dataclass(frozen=True)
class Line:
    """A method: marks along the axis, or one level where the setting is not its own."""

    name: str
    marks: Sequence[Mark]
    level: Interval | None = None


@dataclass(frozen=True)
class Scale:
    """The horizontal axis: where each value lies."""

    name: str
    places: dict[str, float]
    joined: bool = True
    """Whether values lie between the values, so that a line from one to the next means something."""

    @classmethod
    def of(cls, name: str, values: Sequence[str], numbers: Sequence[float] | None, *, log: bool = False) -> Self:
        """Return the scale of numbers, logarithmic if asked for and possible, or of names at equal distances."""
        if numbers is None:
            return cls(name, {value: float(place) for place, value in enumerate(values)}, joined=False)
        logarithmic = log and min(numbers) > 0
        return cls(name, {value: log2(x) if logarithmic else x for value, x in zip(values, numbers, strict=True)})

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last place, never the same."""
        low, high = min(self.places.values()), max(self.places.values())
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def against(metric: str, scale: Scale, lines: Sequence[Line], *, where: str = "") -> Drawing:
    """Draw means as marks, joined on a numeric axis, and 95 % intervals as bars; a method beside the axis is a level with a band.

    Args:
        metric: name and unit of what is drawn.
        scale: of the setting.
        lines: one a method, in the order that gives them their colours.
        where: what else the title says.
    """
    low, high = scale.span
    longest = max((len(line.name) for line in lines), default=0)
    crowd, columns = len(lines) > _DIRECT or longest > _LONG, 3 if longest <= _LONG else 2 if longest <= 2 * _LONG else 1
    with canvas(_WIDTH, _HEIGHT + (16 * (1 + len(lines) // columns) if crowd else 0)) as (figure, axes):
        axes.set(xlabel=scale.name, ylabel=metric)
        axes.set_title("bars and bands: 95 % intervals over seeds")
        before, after = (0.07 * (high - low) if scale.joined else 0.5), 0.07 if crowd else _ROOM
        axes.set_xlim(low - before, high + max(before, after * (high - low)))
        _ticks(axes, scale)
        steps = _steps(scale, lines)
        placed = [_draw(axes, index, line, scale, step) for index, (line, step) in enumerate(zip(lines, steps, strict=True))]
        if crowd:
            figure.legend(
                loc="outside lower center", ncols=columns, frameon=False, fontsize=10, handlelength=1.4, columnspacing=1.2
            )
        else:
            figure.draw_without_rendering()  # now everything has its place
            named = [(line.name, point) for line, point in zip(lines, placed, strict=True) if point]
            label(axes, [name for name, _ in named], [point for _, point in named])
        described = "; ".join(f"{line.name}: {_words(scale, line)}" for line in lines)
        return finish(figure, f"{metric[:1].upper()}{metric[1:]}, against {scale.name}{where}", described)


def _steps(scale: Scale, lines: Sequence[Line]) -> list[float]:
    """Return how far the marks of each line stand beside their values, so that none hides another."""
    (low, high), marked = scale.span, [line for line in lines if line.marks]
    step = _DODGE * (high - low) if scale.joined else _SPREAD / max(len(marked), 1)
    return [step * (marked.index(line) - (len(marked) - 1) / 2) if line in marked else 0.0 for line in lines]


def _draw(axes: "Axes", index: int, line: Line, scale: Scale, shift: float) -> tuple[float, float] | None:
    """Draw one method, its marks shifted, and return where its name belongs."""
    (low, high), (colour, style) = scale.span, series(index)
    shape, filling = _SHAPES[index % len(_SHAPES)], colour if index < len(_SHAPES) else PAPER
    if line.level:
        axes.plot([low, high], [line.level.mean] * 2, style, color=colour, lw=1.4, zorder=1)
        if line.level.low is not None and line.level.high is not None:
            axes.fill_between([low, high], line.level.low, line.level.high, color=colour, alpha=0.15, lw=0, zorder=0)
        axes.plot(high, line.level.mean, shape, color=colour, mfc=filling, ms=5, zorder=3, label=line.name)
        return high, line.level.mean
    if not line.marks:
        return None
    places, means = [mark.x + shift for mark in line.marks], [mark.interval.mean for mark in line.marks]
    if scale.joined:
        axes.plot(places, means, style, color=colour, lw=1.4, zorder=2)
    axes.plot(places, means, shape, color=colour, mfc=filling, ms=5.5, zorder=3, label=line.name)
    for x, (_, interval) in zip(places, line.marks, strict=True):
        if interval.low is not None and interval.high is not None:
            axes.plot([x, x], [interval.low, interval.high], color=colour, lw=1.4, zorder=2)
    return places[-1], means[-1]


def _ticks(axes: "Axes", scale: Scale) -> None:
    """Mark every value, and name those that have room."""
    low, high = scale.span
    if not scale.joined:
        width = max(6, _LETTERS // len(scale.places))
        axes.set_xticks(list(scale.places.values()), [fill(value, width, break_long_words=False) for value in scale.places])
        return
    texts, last = [], float("-inf")
    for value, place in scale.places.items():
        shown = place - last >= _CROWDED * (high - low)
        texts.append(value if shown else "")
        last = place if shown else last
    axes.set_xticks(list(scale.places.values()), texts)


def _words(scale: Scale, line: Line) -> str:
    if line.level:
        return f"{number(line.level.mean)} throughout"
    names = {place: value for value, place in scale.places.items()}
    return ", ".join(f"{number(mark.interval.mean)} at {names[mark.x]}" for mark in line.marks) or "not measured"
