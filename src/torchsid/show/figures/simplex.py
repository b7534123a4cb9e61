"""The way of beliefs through the triangle of three classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchsid.show.svg import MUTED, PAPER, RULE, SERIES, Drawing, canvas, finish
from torchsid.show.wording import listing, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (SERIES[0], SERIES[1], SERIES[2])
MARKS = ("o", "s", "^")
_HEIGHT = 0.8660254037844386  # of a triangle with sides of 1
_DOTS = 20  # up to this many stages each has its dot on the mean path


def simplex_path(
    means: NDArray[np.float64], singles: NDArray[np.float64], classes: NDArray[np.int64], names: Sequence[str]
) -> Drawing:
    """Draw the path of the mean belief about each of three classes, and thin ones of single images, from the prior on.

    Args:
        means: points `[L+1, 3, 2]`, the class of row k at corner k; see `torchsid.study.simplex`.
        singles: points of n images, `[L+1, n, 2]`.
        classes: their true classes, 0, 1 or 2, `[n]`.
        names: of the three classes.
    """
    with canvas(460, 430) as (figure, axes):
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set(xlim=(-0.06, 1.06), ylim=(-0.09, _HEIGHT + 0.08))
        _triangle(axes, names)
        for k, (colour, mark) in enumerate(zip(COLOURS, MARKS, strict=True)):
            for path in singles[:, classes == k].transpose(1, 0, 2):
                axes.plot(*path.T, color=colour, alpha=0.3, lw=0.8, zorder=2)
                axes.plot(*path[-1], mark, color=colour, alpha=0.6, ms=3.5, mew=0, zorder=2)
        for k, (colour, mark) in enumerate(zip(COLOURS, MARKS, strict=True)):
            path = means[:, k]
            axes.plot(*path.T, color=PAPER, lw=5, zorder=3)
            axes.plot(*path.T, color=colour, lw=2.4, zorder=4)
            dots = path[1:] if len(path) <= _DOTS else path[-1:]
            axes.plot(*dots.T, mark, color=colour, ms=7, mec=PAPER, mew=1, zorder=5)
        own = [float(_share(means[-1, k], k)) for k in range(3)]
        title = f"Mean beliefs in {listing(names)} end at {listing([percent(share, 0) for share in own])}"
        return finish(figure, title, f"A triangle with a class at each corner and the paths of {len(classes)} images")


def _triangle(axes: "Axes", names: Sequence[str]) -> None:
    corners = np.array([[0, 0], [1, 0], [0.5, _HEIGHT]])
    for share in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = [share * corners[k] + (1 - share) * corners[other] for other in range(3) if other != k]
            axes.plot(*np.array(ends).T, color=RULE, lw=0.8, zorder=0)
    axes.plot(*corners[[0, 1, 2, 0]].T, color=MUTED, lw=1.2, zorder=1)
    for k, (corner, at) in enumerate(zip(corners, ("left", "right", "center"), strict=True)):
        name = names[k] if len(names[k]) <= 24 else names[k][:23] + "…"
        down = k < 2
        shift, side = ((0, -12), "top") if down else ((0, 10), "bottom")
        axes.annotate(
            name, corner, xytext=shift, textcoords="offset points", ha=at, va=side, color=COLOURS[k], fontweight="bold", fontsize=12
        )
    axes.plot(0.5, _HEIGHT / 3, "+", color=MUTED, ms=9, mew=1.4, zorder=6)


def _share(point: NDArray[np.float64], corner: int) -> float:
    """Return the probability of a corner's class at a point of the triangle."""
    top = point[1] / _HEIGHT
    return float((1 - point[0] - top / 2, point[0] - top / 2, top)[corner])
