"""The way of beliefs through the triangle of three outcomes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchsid.show.svg import MUTED, PAPER, RULE, Drawing, canvas, finish, look
from torchsid.show.text import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CORNERS = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])
"""Where each of the three is certain, `[3, 2]`: an equilateral triangle with sides of 1."""
_DOTS = 20  # up to this many stages each has its dot on the mean path


def simplex(
    title: str, means: NDArray[np.float64], singles: NDArray[np.float64], outcomes: NDArray[np.int64], names: Sequence[str]
) -> Drawing:
    """Draw the path of the mean belief about each of three outcomes, and thin ones of single samples, from the prior on.

    Args:
        title: of the figure.
        means: mean beliefs in the three `[L+1, 3, 3]`, about the samples whose right outcome is that of row k; rows sum to 1.
        singles: beliefs about n samples, `[L+1, n, 3]`.
        outcomes: their right ones, 0, 1 or 2, `[n]`.
        names: of the three.
    """
    with canvas(460, 430) as (figure, axes):
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set(xlim=(-0.06, 1.06), ylim=(-0.09, CORNERS[2, 1] + 0.08))
        _triangle(axes, names)
        for k in range(3):
            colour, _, mark = look(k)
            for path in (singles[:, outcomes == k] @ CORNERS).transpose(1, 0, 2):
                axes.plot(*path.T, color=colour, alpha=0.3, lw=0.8, zorder=2)
                axes.plot(*path[-1], mark, color=colour, alpha=0.6, ms=3.5, mew=0, zorder=2)
        for k in range(3):
            colour, _, mark = look(k)
            path = means[:, k] @ CORNERS
            axes.plot(*path.T, color=PAPER, lw=5, zorder=3)
            axes.plot(*path.T, color=colour, lw=2.4, zorder=4)
            dots = path[1:] if len(path) <= _DOTS else path[-1:]
            axes.plot(*dots.T, mark, color=colour, ms=7, mec=PAPER, mew=1, zorder=5)
        return finish(figure, title, "; ".join(f"{name}: {number(means[-1, k, k])} at the end" for k, name in enumerate(names)))


def _triangle(axes: "Axes", names: Sequence[str]) -> None:
    for share in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = [share * CORNERS[k] + (1 - share) * CORNERS[other] for other in range(3) if other != k]
            axes.plot(*np.array(ends).T, color=RULE, lw=0.8, zorder=0)
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=MUTED, lw=1.2, zorder=1)
    for k, (corner, side) in enumerate(zip(CORNERS, ("left", "right", "center"), strict=True)):
        shift, above = ((0, -12), "top") if k < 2 else ((0, 10), "bottom")
        text: dict[str, Any] = {"ha": side, "va": above, "color": look(k)[0], "fontweight": "bold", "fontsize": 12}
        axes.annotate(shortened(names[k], 24), corner, xytext=shift, textcoords="offset points", **text)
    axes.plot(*CORNERS.mean(axis=0), "+", color=MUTED, ms=9, mew=1.4, zorder=6)
