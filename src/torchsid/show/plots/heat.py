"""Heat maps: confusion, conflict, class by stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchsid.show.svg import INK, PAPER, SERIES, Drawing, canvas, finish
from torchsid.show.tables import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WRITTEN = 24  # up to so many rows and columns every cell is drawn by itself, with its text
_STRONG = 0.75  # from this opacity on a number is read better in the colour of the paper
_BLUE, _RED = (0.15, 0.52, 0.78), (0.85, 0.40, 0.10)  # of a picture, which cannot take the page's colours: these fit both


def heat(
    title: str,
    strength: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    text: Sequence[Sequence[str]] | None = None,
    x: str = "",
    y: str = "",
) -> Drawing:
    """Draw one cell an entry: blue above 0, red below, the stronger the larger. With as many rows as columns cells are square.

    The strength `[R, C]` is from −1 to 1, NaN for an empty cell. The text is written into the cells, where these are not too many;
    `x` is the name of the columns, `y` of the rows.
    """
    from matplotlib.patches import Rectangle

    square = len(rows) == len(columns)
    side = min(max(len(rows), 4) * 38, 440) if square else min(22 * len(rows), 500)
    opacity = np.minimum(np.abs(np.nan_to_num(strength)), 1)
    with canvas(460, side + 62) as (figure, axes):
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_aspect("equal" if square else "auto")
        axes.set(xlim=(-0.5, max(len(columns), 4) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        if max(len(rows), len(columns)) <= _WRITTEN:
            for row, column in np.argwhere(np.isfinite(strength)):
                look = {"color": SERIES[int(strength[row, column] < 0)], "alpha": opacity[row, column], "lw": 0}
                axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **look))
                ink = PAPER if opacity[row, column] > _STRONG else INK
                words = text[row][column] if text else ""
                axes.text(column, row, words, ha="center", va="center", fontsize=9.5, color=ink, in_layout=False)
        else:
            picture = np.dstack([np.where(strength[..., None] < 0, _RED, _BLUE), opacity])
            axes.imshow(picture, interpolation="nearest", aspect="equal" if square else "auto")
        _names(axes, rows, columns)
        axes.set_xlabel(x, loc="left")
        axes.set_title(y)
        return finish(figure, title, f"{len(rows)} rows, {len(columns)} columns")


def _names(axes: "Axes", rows: Sequence[str], columns: Sequence[str]) -> None:
    """Name rows and columns, some of many; long names of columns are turned."""
    for axis, names in (("y", rows), ("x", columns)):
        step = max(1, -(-len(names) // _WRITTEN))
        shown = [shortened(name, 16) for name in names][::step]
        getattr(axes, f"set_{axis}ticks")(range(0, len(names), step), shown)
        if axis == "x" and max(map(len, shown), default=0) > 3:
            for label in axes.get_xticklabels():
                label.set(rotation=45, ha="right", rotation_mode="anchor")
