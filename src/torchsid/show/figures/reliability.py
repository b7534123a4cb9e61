"""Whether the confidence of single stages can be trusted, several stages in one diagram."""

from collections.abc import Mapping, Sequence

import numpy as np

from torchsid.show.figures.lines import HEIGHT, WIDTH, legend
from torchsid.show.svg import MUTED, SERIES, Drawing, canvas, finish

_MARKS = ("o", "s", "^")


def reliability(title: str, stages: Mapping[int, Mapping[str, Sequence[float]]]) -> Drawing:
    """Draw accuracy against confidence, a curve a stage; the area of a mark is the share of the images in its bin.

    Args:
        title: says what is seen.
        stages: up to three; their bins as `torchsid.training.evaluation.calibration` returns them.
    """
    with canvas(WIDTH, HEIGHT) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        for place, (stage, bins) in enumerate(stages.items()):
            count = np.array(bins["count"])
            filled = count > 0
            confidence, accuracy = (100 * np.array(bins[name])[filled] for name in ("confidence", "accuracy"))
            colour, mark = SERIES[place], _MARKS[place]
            area = 10 + 250 * count[filled] / count.sum()
            axes.plot(confidence, accuracy, color=colour, lw=1, alpha=0.6, zorder=2 + place)
            axes.scatter(confidence, accuracy, s=area, color=colour, marker=mark, lw=0, alpha=0.9, zorder=3 + place)
            axes.plot([], [], mark, color=colour, ms=5, label=f"stage {stage}")
        axes.set(xlim=(0, 101), ylim=(0, 103), xlabel="confidence, %")
        axes.set_title("%", fontsize=10)
        legend(axes, len(stages))
        return finish(figure, title, "On the dashed diagonal confidence and accuracy agree")
