"""What each stage adds: accuracy and divergence from the prior to the last belief."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from torchsid.show.methods import Method
from torchsid.show.record import Split
from torchsid.show.svg import Drawing, canvas, finish, series
from torchsid.show.wording import kl_by_stage, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLOOR = 1e-5  # nats; a logarithmic axis has no zero


def accuracy_by_stage(methods: Sequence[Method]) -> Drawing:
    """Draw the held-out accuracy of every stage; the prior's is left out, since it only stretches the axis."""
    return _draw(methods, lambda split: split.accuracy, "Accuracy by stage, %", 100, first=1)


def kl_mean_by_stage(methods: Sequence[Method]) -> Drawing:
    """Draw the mean KL(target || p_i) of every stage."""
    return _draw(methods, lambda split: split.kl, "Mean KL(target ‖ belief) by stage, nats", 1, first=0)


def mean_by_stage(method: Method, values: Callable[[Split], Sequence[float]]) -> list[float]:
    """Return `[L+1]` values of the quoted weights, averaged over the seeds; empty without an evaluation."""
    rows = [values(run.chosen.held_out) for run in method.evaluated if run.chosen and run.chosen.held_out]
    return [float(value) for value in np.mean(rows, axis=0)] if rows else []


def kl_band(method: Method, index: int) -> Drawing | None:
    """Draw how KL is spread over the samples of one run, on a logarithmic axis: median, middle half, middle 90 %."""
    from matplotlib.ticker import LogLocator

    split = method.example.chosen.held_out if method.example and method.example.chosen else None
    if split is None or not {0.05, 0.25, 0.5, 0.75, 0.95} <= split.kl_quantiles.keys():
        return None
    bands = {key: np.maximum(values, _FLOOR) for key, values in split.kl_quantiles.items()}
    stages = np.arange(len(split.kl))
    colour, _ = series(index)
    with canvas(460, 270) as (figure, axes):
        axes.fill_between(stages, bands[0.05], bands[0.95], color=colour, alpha=0.16, lw=0)
        axes.fill_between(stages, bands[0.25], bands[0.75], color=colour, alpha=0.28, lw=0)
        axes.plot(stages, bands[0.5], color=colour)
        axes.plot(stages, np.maximum(split.kl, _FLOOR), color=colour, lw=1.4, ls=(0, (3, 2)))
        axes.set_yscale("log")
        decades = float(np.log10(bands[0.95].max() / bands[0.05].min()))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        stage_axis(axes, len(stages) - 1)
        described = f"{kl_by_stage(split.kl)}; the median ends at {number(float(bands[0.5][-1]))}"
        return finish(figure, f"{method.name}: KL of single samples, nats", described)


def _draw(methods: Sequence[Method], values: Callable[[Split], Sequence[float]], title: str, scale: float, first: int) -> Drawing:
    described = []
    with canvas(460, 270) as (figure, axes):
        deepest = 1
        for index, method in enumerate(methods):
            means = [scale * value for value in mean_by_stage(method, values)]
            if not means:
                continue
            colour, dashes = series(index)
            described.append(f"{method.name} goes from {number(means[0])} to {number(means[-1])}")
            if len(means) == 2:  # no stages to follow: a level to compare with
                axes.axhline(means[1], color=colour, ls=dashes, lw=1.2)
                continue
            deepest = max(deepest, len(means) - 1)
            marker = "o" if len(means) < 30 else None
            axes.plot(range(first, len(means)), means[first:], color=colour, ls=dashes, marker=marker, ms=4)
        if first == 0:
            axes.set_ylim(bottom=0)
        stage_axis(axes, deepest)
        return finish(figure, title, "; ".join(described) or "Nothing evaluated")


def stage_axis(axes: "Axes", depth: int) -> None:
    """Let the horizontal axis count the stages, from the prior on."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    few = depth <= 12
    axes.xaxis.set_major_locator(FixedLocator(range(depth + 1)) if few else MaxNLocator(nbins=10, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: "prior" if value == 0 else f"{value:g}")
    axes.set_xlabel("stage")
    axes.margins(x=0.03)
