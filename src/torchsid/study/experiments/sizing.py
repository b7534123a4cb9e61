"""How much of an experiment fits a budget of time; what is dropped, in a stated order, and said."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torchsid.study.experiments.grid import Cell, Grid, cells, position, seeds_of, whole
from torchsid.study.experiments.plan import Experiment

ENOUGH_SEEDS = 3  # for an interval that means something
ORDER = (
    "seeds down to three, then values inside the axis, then seeds down to one; "
    "never a contender, a learning rate or an end of the axis"
)


@dataclass(frozen=True)
class Sized:
    """The part of an experiment that is run."""

    grid: Grid
    seconds: float
    """That it takes, by the estimate."""
    dropped: tuple[str, ...]
    """What was left out, in words; empty when nothing was."""


def fit(experiment: Experiment, seconds: Mapping[Cell, float], budget: float, workers: int = 1) -> Sized:
    """Return the largest grid that takes no longer than the budget, or the smallest one where none does.

    Args:
        experiment: to be sized.
        seconds: of one run of every cell of the whole grid, see `estimate`.
        budget: in seconds.
        workers: runs at a time.
    """
    full, grid = whole(experiment), whole(experiment)
    for grid in smaller(experiment):
        if (needed := total(experiment, grid, seconds, workers)) <= budget:
            break
    return Sized(grid, needed, tuple(_dropped(full, grid)))


def total(experiment: Experiment, grid: Grid, seconds: Mapping[Cell, float], workers: int = 1) -> float:
    """Return the seconds that a grid takes: a run for each rate on the first seed, and one for each further seed."""
    needed = 0.0
    for cell in cells(experiment, grid):
        contender = experiment.contenders[cell.contender]
        seeds = len(seeds_of(contender, grid))
        needed += seconds[cell] * (seeds if contender.of else len(experiment.rates) + seeds - 1)
    return needed / workers


def smaller(experiment: Experiment) -> Iterator[Grid]:
    """Yield the whole grid, then smaller and smaller ones in the order of `ORDER`."""
    grid = whole(experiment)
    yield grid
    while len(grid.seeds) > ENOUGH_SEEDS:
        grid = replace(grid, seeds=grid.seeds[:-1])
        yield grid
    while inside := _inside(experiment, grid):
        grid = replace(grid, values=tuple(value for value in grid.values if value != inside))
        yield grid
    while len(grid.seeds) > 1:
        grid = replace(grid, seeds=grid.seeds[:-1])
        yield grid


def _inside(experiment: Experiment, grid: Grid) -> str:
    """Return the value inside the axis that stands closest to those left, by its place in the list; empty when there is none.

    Dropping it leaves the rest spread evenly. The reference stays.
    """
    axis = experiment.axis
    if axis is None:
        return ""
    place = {value: index for index, value in enumerate(axis.names())}
    left = grid.values
    gaps = {
        value: place[left[index + 1]] - place[left[index - 1]]
        for index, value in enumerate(left)
        if 0 < index < len(left) - 1 and value != axis.reference
    }
    return min(gaps, key=gaps.__getitem__) if gaps else ""


def estimate(experiment: Experiment, measured: Mapping[Cell, float]) -> dict[Cell, float]:
    """Return the seconds of one run of every cell from those of each contender at the two ends of the axis.

    Between the ends of a numeric axis the time is taken to be linear, as it is in depth; between names the longer one holds.
    """
    return {cell: _between(experiment, cell, measured) for cell in cells(experiment, whole(experiment))}


def _between(experiment: Experiment, cell: Cell, measured: Mapping[Cell, float]) -> float:
    if cell in measured:
        return measured[cell]
    first, last = ends(experiment)
    low, high = measured[replace(cell, value=first)], measured[replace(cell, value=last)]
    x, x_low, x_high = (position(experiment, value) for value in (cell.value, first, last))
    if x is None or x_low is None or x_high is None or x_low == x_high:
        return max(low, high)
    return max(low + (high - low) * (x - x_low) / (x_high - x_low), min(low, high))


def ends(experiment: Experiment) -> tuple[str, str]:
    """Return the first and the last value of the axis."""
    values = whole(experiment).values
    return values[0], values[-1]


def probes(experiment: Experiment) -> list[Cell]:
    """Return the cells whose runs tell how long the others take; every grid holds them."""
    grid = whole(experiment)
    return cells(experiment, replace(grid, values=tuple(dict.fromkeys(ends(experiment))) if grid.values else ()))


def _dropped(full: Grid, grid: Grid) -> Iterator[str]:
    if gone := [str(seed) for seed in full.seeds if seed not in grid.seeds]:
        yield f"{len(gone)} of {len(full.seeds)} seeds ({', '.join(gone)})"
    if away := [value for value in full.values if value not in grid.values]:
        yield f"{len(away)} of {len(full.values)} values of the axis ({', '.join(away)})"
