"""Quantities of one cascade over its stages, as lines that are told apart by dash and mark as well as by colour."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from torchsid.show.figures.stages import stage_axis
from torchsid.show.svg import MUTED, SERIES, Drawing, canvas, finish
from torchsid.show.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
_MARKED = 30  # from this many points on, marks would run together
WIDTH, HEIGHT = 320, 230  # three in a row


class StageLine(NamedTuple):
    """A line: its name, one value a stage (NaN and infinity are left out), and the stage of the first value, 0 for the prior."""

    name: str
    values: Sequence[float]
    first: int = 1
    muted: bool = False


def lines_by_stage(title: str, lines: Sequence[StageLine], *, unit: str, bottom: float | None = None) -> Drawing:
    """Draw lines over the stages.

    Args:
        title: says what is seen.
        lines: four at most; values as they are to be shown.
        unit: of the values, `%` or `nats`.
        bottom: where the axis begins; None fits it to the values.
    """
    with canvas(WIDTH, HEIGHT) as (figure, axes):
        deepest = max(line.first + len(line.values) - 1 for line in lines)
        for place, line in enumerate(lines):
            dashes, mark = _STYLES[place]
            values = np.where(np.isfinite(line.values), line.values, np.nan)
            stages = range(line.first, line.first + len(values))
            colour = MUTED if line.muted else SERIES[place]
            axes.plot(
                stages, values, color=colour, ls=dashes, marker=mark if len(values) < _MARKED else None, ms=4.5, label=line.name
            )
        if bottom is not None:
            axes.set_ylim(bottom=bottom)
        stage_axis(axes, max(deepest, 1))
        if deepest == 1:
            axes.set_xlim(min(line.first for line in lines) - 0.5, 1.5)
        axes.set_title(unit, fontsize=10)
        if len(lines) == 2:
            legend(axes, 2)
        elif len(lines) > 2:  # too many words for one line
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10, handlelength=2.2)
        ends = (f"{line.name} ends at {number(float(line.values[-1]))} {unit}" for line in lines)
        return finish(figure, title, "; ".join(ends))


def legend(axes: "Axes", columns: int) -> None:
    """Explain the marks above the axes, beside the unit."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, frameon=False, borderpad=0.2, fontsize=10, handlelength=2.2
    )
