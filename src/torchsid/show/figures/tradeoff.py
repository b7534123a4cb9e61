"""Accuracy against what it costs: memory for backward and training time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from torchsid.show.figures.labels import Point, label
from torchsid.show.figures.pareto import front
from torchsid.show.svg import MUTED, Drawing, canvas, finish, series
from torchsid.show.wording import duration, listing, mebibytes, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 400, 300  # of a panel, in CSS pixels
_SHAPES = "os^DvPX"  # with the colours, so that the shape alone tells in grey
_LEAST_SPAN = 1.0  # of the accuracies, in points: less would look like a difference
_LONGEST_NAME = 28


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """What one method reaches, and what it costs; a cost that was not measured is None."""

    name: str
    accuracy: Sequence[float]  # after the last epoch, in [0, 1]: one a seed; empty leaves the method out
    kept_bytes: float | None  # for backward in a training step, at most
    seconds: float | None  # of training


@dataclass(frozen=True)
class Cost:
    """A panel: what accuracy is drawn against."""

    name: str
    of: Callable[[Tradeoff], float | None]
    words: Callable[[float], str]
    units: tuple[tuple[float, str], ...]  # the largest first; size and axis label


MEMORY = Cost("memory", lambda method: method.kept_bytes, mebibytes, ((2**20, "kept for backward in a step, MiB"),))
TIME = Cost(
    "training time",
    lambda method: method.seconds,
    duration,
    ((3600, "training time, hours"), (60, "training time, minutes"), (1, "training time, seconds")),
)
COSTS = (MEMORY, TIME)


class Mark(NamedTuple):
    """One method in one panel."""

    place: int  # of the method
    name: str
    cost: float
    accuracy: float  # the mean over seeds, in per cent
    seeds: tuple[float, ...]  # of each


def marks(methods: Sequence[Tradeoff], cost: Cost) -> list[Mark]:
    """Return the methods that have both an accuracy and this cost."""
    found = [(index, method, cost.of(method)) for index, method in enumerate(methods) if method.accuracy]
    return [
        Mark(index, method.name, value, 100 * fmean(method.accuracy), tuple(100 * each for each in method.accuracy))
        for index, method, value in found
        if value is not None
    ]


def tradeoff(methods: Sequence[Tradeoff], costs: Sequence[Cost] = COSTS, *, split: str = "test") -> Drawing:
    """Draw accuracy against each cost: a mark a method, a bar from its worst seed to its best, the front of the means as a line.

    Args:
        methods: in the order that gives them their colours; those that lack a cost are left out of its panel.
        costs: a panel each, side by side.
        split: what the accuracy was measured on.
    """
    shown = [(cost, marks(methods, cost)) for cost in costs]
    with canvas(_WIDTH * len(costs), _HEIGHT) as (figure, only):
        only.remove()
        panels = list(figure.subplots(1, len(costs), squeeze=False, sharey=True).flat)
        panels[0].set_ylabel(f"{split} accuracy after the last epoch, %")
        several = any(len(mark.seeds) > 1 for _, group in shown for mark in group)
        panels[0].set_title(("bar: worst to best seed · " if several else "") + "line: best trade-offs")
        panels[0].set_ylim(*_limits([seed for _, group in shown for mark in group for seed in mark.seeds]))
        placed = [_panel(axes, cost, group) for axes, (cost, group) in zip(panels, shown, strict=True)]
        figure.draw_without_rendering()  # now every panel has its place
        for axes, points, (_, group) in zip(panels, placed, shown, strict=True):
            label(axes, [mark.name[:_LONGEST_NAME] for mark in group], points)
        title = f"{split.capitalize()} accuracy against {listing([cost.name for cost in costs])}: upper left is better"
        described = (f"{cost.name}: {', '.join(_words(cost, mark) for mark in group)}" for cost, group in shown)
        return finish(figure, title, "; ".join(described))


def _limits(seeds: Sequence[float]) -> tuple[float, float]:
    low, high = min(seeds, default=0), max(seeds, default=100)
    margin = max(0.15 * (high - low), (_LEAST_SPAN - high + low) / 2)
    return low - margin, high + margin


def _words(cost: Cost, mark: Mark) -> str:
    return f"{mark.name} {percent(mark.accuracy / 100)} for {cost.words(mark.cost)}"


def _panel(axes: "Axes", cost: Cost, group: Sequence[Mark]) -> list[Point]:
    """Draw all but the names, and return where the marks are."""
    greatest = max((mark.cost for mark in group), default=1.0)
    size, text = next((unit for unit in cost.units if greatest >= 2 * unit[0]), cost.units[-1])
    axes.set(xlabel=text, xlim=(0, 1.12 * greatest / size))
    points = [(mark.cost / size, mark.accuracy) for mark in group]
    best = front([(x, -y) for x, y in points])
    axes.plot([x for x, _ in best], [-y for _, y in best], color=MUTED, lw=1.4, zorder=1)
    for (x, y), mark in zip(points, group, strict=True):
        colour, _ = series(mark.place)
        axes.plot([x, x], [min(mark.seeds), max(mark.seeds)], color=colour, lw=1.4, zorder=2)
        axes.plot(x, y, _SHAPES[mark.place % len(_SHAPES)], color=colour, ms=7, zorder=3)
    return points
