"""How the stages do on single classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchsid.show.figures.heat import GOOD, cell
from torchsid.show.svg import SERIES, Drawing, canvas, finish
from torchsid.show.wording import percent

CLASSES = 20  # more rows are not read
_STAGES = 16  # nor more columns
_ROW = 21  # of height, in CSS pixels


def class_heat(accuracy: NDArray[np.float64], class_names: Sequence[str]) -> Drawing:
    """Draw the share of each class (rows) that each stage (columns) answers rightly, the stronger the colour the more.

    Of more than 20 classes the 20 that change most are shown, of more than 16 stages 16, the first and the last among them.

    Args:
        accuracy: `[L, C]`; classes with NaN, which have no images, are left out.
        class_names: one name a class.
    """
    depth = len(accuracy)
    rows, stages = shown_classes(accuracy), sorted(set(np.linspace(0, depth - 1, min(depth, _STAGES)).round().astype(int).tolist()))
    low, high = float(accuracy[:, rows].min()), float(accuracy[:, rows].max())
    with canvas(460, 60 + _ROW * len(rows)) as (figure, axes):
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(xlim=(-0.5, max(len(stages), 4) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        for row, name in enumerate(rows):
            for column, stage in enumerate(stages):
                share = float(accuracy[stage, name])
                cell(axes, row, column, GOOD, 0.08 + 0.87 * (share - low) / max(high - low, 1e-9), f"{100 * share:.0f}", font=9.5)
        axes.set_yticks(range(len(rows)), [_short(class_names[name]) for name in rows])
        axes.set_xticks(range(len(stages)), [str(stage + 1) for stage in stages])
        axes.set_xlabel("stage", loc="left")
        axes.set_title("class: % answered rightly")
        described = "; ".join(f"{class_names[name]} {percent(float(accuracy[-1, name]), 0)}" for name in rows)
        return finish(figure, _what_changes(accuracy, class_names), f"At the last stage: {described}")


def shown_classes(values: NDArray[np.float64]) -> list[int]:
    """Return the classes with images, ascending; of more than 20 those whose `[L, C]` values change most over the stages."""
    present = [int(name) for name in np.flatnonzero(np.isfinite(values).all(axis=0))]
    change = np.ptp(values[:, present], axis=0)
    return sorted(present[place] for place in np.argsort(-change, kind="stable")[:CLASSES])


def failing_bars(failing: NDArray[np.int64], sizes: NDArray[np.int64], class_names: Sequence[str]) -> Drawing:
    """Draw the share of each class for which some stage raises the divergence; of more than 20 classes the 20 with the most.

    Args:
        failing: images with a rise, `[C]`.
        sizes: images, `[C]`.
        class_names: one name a class.
    """
    from matplotlib.ticker import MaxNLocator

    share = failing / np.maximum(sizes, 1)
    order = [int(name) for name in np.argsort(-share, kind="stable") if sizes[name]][:CLASSES]
    most, least = order[0], order[-1]
    title = f"Class {class_names[most]} fails most often: {percent(float(share[most]), 0)} of its images have a rise"
    with canvas(400, 46 + _ROW * len(order)) as (figure, axes):
        axes.barh(range(len(order)), 100 * share[order], height=0.72, color=SERIES[1], alpha=0.85)
        for row, name in enumerate(order):
            text = f"{failing[name]:,} of {sizes[name]:,}"
            axes.annotate(text, (100 * share[name], row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(order)), [_short(class_names[name]) for name in order])
        axes.set(ylim=(len(order) - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 100])
        axes.set(xlim=(0, 128 * max(float(share.max()), 0.01)))
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_title("images with a rise at some stage, % of the class")
        return finish(figure, title, f"Of class {class_names[least]} it is {percent(float(share[least]), 0)}")


def _what_changes(accuracy: NDArray[np.float64], class_names: Sequence[str]) -> str:
    rows = shown_classes(accuracy)
    change = accuracy[-1] - accuracy[0]
    if len(accuracy) == 1:
        worst = min(rows, key=lambda name: accuracy[0, name])
        return f"Class {class_names[worst]} is the hardest: {percent(float(accuracy[0, worst]), 0)} answered rightly"
    most = max(rows, key=lambda name: abs(change[name]))
    if not change[most]:
        return "The last stage answers every class as rightly as stage 1"
    first, last = (percent(float(accuracy[stage, most]), 0) for stage in (0, -1))
    return f"Class {class_names[most]} changes most: {first} at stage 1, {last} at stage {len(accuracy)}"


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"
