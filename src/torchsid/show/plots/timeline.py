"""What every worker does, and when it waits: the bubbles of a pipeline, or their absence."""

from collections.abc import Mapping, Sequence

from torchsid.show.svg import MUTED, RULE, Drawing, canvas, finish, key, look
from torchsid.show.tables import number

Lane = Sequence[tuple[str, float, float]]  # what was done, from when to when

_WIDTH, _LANE, _GAP, _REST = 640, 21, 26, 44  # CSS pixels: of the figure; a lane's height; between panels; the axis
_BAR = 0.78  # of the height of a lane


def timeline(title: str, panels: Mapping[str, Sequence[Lane]]) -> Drawing:
    """Draw panels, by name the lanes of workers, in seconds, under one another on one axis of time."""
    from matplotlib.patches import Patch

    ends = {name: max((end for each in lanes for _, _, end in each), default=0.0) for name, lanes in panels.items()}
    kinds = list(dict.fromkeys(what for lanes in panels.values() for each in lanes for what, _, _ in each))
    colours = {kind: look(place)[0] for place, kind in enumerate(kinds)}
    shares = [_LANE * max(len(lanes), 1) for lanes in panels.values()] or [_LANE]
    with canvas(_WIDTH, sum(shares) + _GAP * len(shares) + _REST) as (figure, only):
        only.remove()
        grid = figure.subplots(len(shares), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": shares})[:, 0]
        for axes, (name, lanes) in zip(grid, panels.items(), strict=False):
            for place, intervals in enumerate(lanes):
                axes.broken_barh([(0.0, ends[name])], (place - _BAR / 2, _BAR), facecolor=RULE, lw=0)  # what stays grey is waiting
                for kind, colour in colours.items():
                    bars = [(start, stop - start) for what, start, stop in intervals if what == kind]
                    axes.broken_barh(bars, (place - _BAR / 2, _BAR), facecolor=colour, lw=0)
            text = {"va": "center", "fontsize": 9, "color": MUTED, "in_layout": False}
            axes.text(1.01 * ends[name], (len(lanes) - 1) / 2, number(ends[name]), **text)
            axes.set(title=name, xlim=(0, 1.1 * max(ends.values())), ylim=(len(lanes) - 0.5, -0.5))
            axes.set_yticks(range(len(lanes)), [f"worker {place + 1}" for place in range(len(lanes))], fontsize=9)
            axes.grid(visible=False)
        grid[-1].set_xlabel("seconds")
        busy = [(sum(stop - start for _, start, stop in each), ends[name]) for name, lanes in panels.items() for each in lanes]
        shown = {**colours, **({"waiting": RULE} if any(work < 0.999 * end for work, end in busy) else {})}
        key(figure, list(shown), [Patch(facecolor=colour) for colour in shown.values()])
        return finish(figure, title, "; ".join(f"{name} ends at {number(end)}" for name, end in ends.items()))
