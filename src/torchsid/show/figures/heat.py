"""Square heat maps whose cells take the page's colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchsid.show.svg import INK, PAPER, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD, BAD = SERIES[0], SERIES[1]
_STRONG = 0.75  # from this opacity on a number is read better in the colour of the paper


def square(axes: "Axes", size: int) -> None:
    """Prepare axes for `size` × `size` cells, row 0 on top."""
    axes.set_aspect("equal")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))


def cell(axes: "Axes", row: int, column: int, colour: str, opacity: float, text: str, *, font: float = 10) -> None:
    """Draw one cell, with a number in it unless `text` is empty."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=colour, alpha=opacity, lw=0))
    ink = PAPER if opacity > _STRONG else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=font, color=ink, in_layout=False)


def name_ticks(axes: "Axes", names: Sequence[str]) -> None:
    """Label rows and columns; names of more than two characters are turned beneath the columns."""
    short = [name if len(name) <= 14 else name[:13] + "…" for name in names]
    axes.set_yticks(range(len(short)), short)
    axes.set_xticks(range(len(short)), short)
    if max(map(len, short)) > 2:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
