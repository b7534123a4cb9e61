"""What every worker does, and when it waits: the bubbles of a pipeline, or their absence."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchsid.show.svg import MUTED, RULE, SERIES, Drawing, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Timeline = Mapping[str, Any]
"""`contender`, and `workers`: for each a list of `[what, start, end]`, in seconds since the start of the first step."""

_COLOURS = {"forward": SERIES[0], "backward": SERIES[1], "update": SERIES[2]}
_WIDTH, _LANE, _GAP, _REST = 640, 21, 26, 62  # CSS pixels: of the figure; a worker's height; between contenders; axis and key
_BAR = 0.78  # of the height of a lane


def timeline(model: str, steps: int, timelines: Sequence[Timeline]) -> Drawing:
    """Draw several contenders under one another, one lane a worker, on one axis of time, until the first steps are done.

    Args:
        model: for the title.
        steps: how many are shown.
        timelines: of one model, as in the result of `torchsid bench pipeline`.
    """
    end = max((_end(each) for each in timelines), default=1.0)
    height = sum(_LANE * len(each["workers"]) + _GAP for each in timelines) + _REST
    with canvas(_WIDTH, height) as (figure, only):
        only.remove()
        shares = [_LANE * len(each["workers"]) for each in timelines] or [_LANE]
        panels = figure.subplots(len(shares), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": shares})[:, 0]
        for axes, each in zip(panels, timelines, strict=False):
            _panel(axes, each, end)
        panels[-1].set_xlabel("seconds")
        _key(panels[0])
        described = "; ".join(f"{each['contender']} ends after {_end(each):.3g} s" for each in timelines)
        return finish(figure, f"{model}: {steps} training steps, worker by worker", described or "Nothing measured")


def _end(timeline: Timeline) -> float:
    return max((end for lane in timeline["workers"] for _, _, end in lane), default=0.0)


def _panel(axes: "Axes", timeline: Timeline, end: float) -> None:
    workers, last = timeline["workers"], _end(timeline)
    for lane, intervals in enumerate(workers):
        axes.broken_barh([(0.0, last)], (lane - _BAR / 2, _BAR), facecolor=RULE, lw=0)  # what no other bar covers is waiting
        for what, colour in _COLOURS.items():
            bars = [(start, stop - start) for name, start, stop in intervals if name == what]
            axes.broken_barh(bars, (lane - _BAR / 2, _BAR), facecolor=colour, lw=0)
    axes.annotate(
        f"{last:.3g} s",
        (last, (len(workers) - 1) / 2),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=MUTED,
    ).set_in_layout(False)
    axes.set(title=timeline["contender"], xlim=(0, 1.1 * end), ylim=(len(workers) - 0.5, -0.5))
    axes.set_yticks(range(len(workers)), [f"worker {lane + 1}" for lane in range(len(workers))], fontsize=9)
    axes.grid(visible=False)


def _key(axes: "Axes") -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=colour, label=what) for what, colour in (*_COLOURS.items(), ("waiting", RULE))]
    axes.legend(
        handles=patches, ncols=len(patches), loc="lower right", bbox_to_anchor=(1, 1.0), frameon=False, fontsize=9, handlelength=1
    )
