"""Whether a confidence of 80 % is right four times in five."""

import numpy as np

from torchsid.show.record import Split
from torchsid.show.svg import MUTED, Drawing, canvas, finish, series
from torchsid.show.wording import percent


def calibration_diagram(split: Split, method: str, index: int) -> Drawing:
    """Draw accuracy against confidence of the last stage; the area of a dot is the share of the samples in its bin."""
    count = np.array(split.calibration["count"])
    filled = count > 0
    confidence = 100 * np.array(split.calibration["confidence"])[filled]
    accuracy = 100 * np.array(split.calibration["accuracy"])[filled]
    share = count[filled] / max(1.0, float(count.sum()))
    colour, _ = series(index)
    with canvas(460, 300) as (figure, axes):
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        axes.vlines(confidence, confidence, accuracy, color=colour, alpha=0.45, lw=1.2)
        axes.scatter(confidence, accuracy, s=12 + 400 * share, color=colour, alpha=0.85, lw=0, zorder=3, clip_on=False)
        axes.set(xlim=(0, 101), ylim=(0, 103), xlabel="confidence, %")
        described = f"Expected calibration error {percent(split.ece[-1])} over {int(count.sum())} samples"
        return finish(figure, f"{method}: accuracy by confidence, %; ECE {percent(split.ece[-1])}", described)
