"""At which stage the answers settle."""

import numpy as np
from numpy.typing import NDArray

from torchsid.show.figures.lines import legend
from torchsid.show.figures.stages import stage_axis
from torchsid.show.svg import INK, PAPER, SERIES, Drawing, canvas, finish
from torchsid.show.wording import percent

_NUMBERED = 12  # up to this many stages every bar carries its count
_KINDS = (("rightly", SERIES[0], ""), ("wrongly", SERIES[1], "////"))


def settling_bars(counts: NDArray[np.int64]) -> Drawing:
    """Draw in how many images the answer settles at each stage, on a square-root scale, rightly and wrongly side by side.

    Args:
        counts: images whose final answer is right (row 0) or wrong (row 1), `[2, L]`.
    """
    depth = counts.shape[1]
    with canvas(460, 270) as (figure, axes):
        axes.set_yscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        for place, (name, colour, hatch) in enumerate(_KINDS):
            stages = np.arange(1, depth + 1) + (place - 0.5) * 0.42
            axes.bar(stages, counts[place], width=0.4, color=colour, hatch=hatch, edgecolor=PAPER, lw=0.5, label=name)
            for x, count in zip(stages, counts[place], strict=True) if depth <= _NUMBERED else ():
                axes.annotate(
                    f"{count:,}", (x, count), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9, color=INK
                )
        stage_axis(axes, depth)
        axes.set(ylim=(0, 1.18 * max(int(counts.max()), 1)), xlim=(0.4, depth + 0.6))
        axes.set_yticks(_ticks(int(counts.max())))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_title("images, square-root scale")
        legend(axes, 2)
        at_once = counts[:, 0].sum() / max(counts.sum(), 1)
        title = f"{percent(float(at_once), 1)} of the answers are settled at stage 1"
        parts = (f"stage {stage + 1}: {right} rightly, {wrong} wrongly" for stage, (right, wrong) in enumerate(counts.T))
        return finish(figure, title, "; ".join(parts))


def _ticks(largest: int) -> list[int]:
    """Return a few round numbers, dense at the small end as a square-root scale is."""
    unit = 10 ** max(len(str(max(largest, 1))) - 1, 0)
    steps = (0, unit // 100, unit // 10, unit, 2 * unit, 4 * unit, 8 * unit)
    return sorted({step for step in steps if step <= max(largest, 1)})
