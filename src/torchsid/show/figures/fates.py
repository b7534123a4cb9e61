"""What becomes of wrong labels, stage by stage."""

import numpy as np
from numpy.typing import NDArray

from torchsid.show.figures.stages import stage_axis
from torchsid.show.svg import INK, MUTED, PAPER, SERIES, Drawing, canvas, finish
from torchsid.show.wording import percent

_KINDS = (
    ("found: the true class", SERIES[2], "", 0.75),
    ("memorised: the wrong label", SERIES[1], "////", 0.75),
    ("a third class", MUTED, "", 0.35),
)
_MARKED = 30  # beyond this many stages marks would run together
_REFERENCE = "rightly labelled: their label"


def fate_bars(shares: NDArray[np.float64], agreed: NDArray[np.float64]) -> Drawing:
    """Draw what stages answer to wrongly labelled images, stacked to 100 %, and a line for the rightly labelled as a reference.

    Args:
        shares: of the wrongly labelled, answered with the true class, the label or a third class, `[3, L]`.
        agreed: share of the rightly labelled that is answered with the label, `[L]`; NaN where there are none.
    """
    depth = shares.shape[1]
    stages = np.arange(1, depth + 1)
    with canvas(460, 320) as (figure, axes):
        base = np.zeros(depth)
        for (name, colour, hatch, alpha), values in zip(_KINDS, 100 * shares, strict=True):
            axes.bar(
                stages, values, bottom=base, width=0.78, color=colour, alpha=alpha, hatch=hatch, edgecolor=PAPER, lw=0, label=name
            )
            for stage, value, low in zip(stages, values, base, strict=True) if depth <= 12 else ():
                if value >= 8:  # room for a number
                    box = {"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "boxstyle": "round,pad=0.15"}
                    axes.text(stage, low + value / 2, f"{value:.0f}", ha="center", va="center", fontsize=10, color=INK, bbox=box)
            base += values
        if np.isfinite(agreed).all():
            axes.plot(
                stages, 100 * agreed, color=INK, lw=1.6, ls="--", marker="D" if depth <= _MARKED else None, ms=4, label=_REFERENCE
            )
        stage_axis(axes, depth)
        axes.set(xlim=(0.4, depth + 0.6), ylim=(0, 100))
        axes.set_title("answers to wrongly labelled images, %")
        handles, names = axes.get_legend_handles_labels()  # lines come before bars
        order = sorted(range(len(names)), key=lambda place: names[place] == _REFERENCE)
        figure.legend(
            [handles[place] for place in order],
            [names[place] for place in order],
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=10,
            handlelength=2.2,
        )
        last = [percent(float(share), 0) for share in shares[:, -1]]
        title = f"Wrongly labelled: {last[0]} found, {last[1]} memorised at stage {depth}"
        return finish(
            figure, title, f"At stage 1 {percent(float(shares[0, 0]), 0)} were found; a third class is answered to {last[2]}"
        )
