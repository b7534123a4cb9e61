"""How throughput and efficiency go with the devices, the depth, the width or the batch, as `torchsid plan` forecasts them."""

from typing import TYPE_CHECKING

from torchsid.planner.sweep import Sweep
from torchsid.show.svg import INK, MUTED, SERIES, Drawing, canvas, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 380, 300  # of a panel, in CSS pixels
_LINE = 12.0  # between two names, in points
_STYLES = {  # colour, mark and line, so that the shape alone tells in grey
    "SID": (SERIES[0], "o", "-"),
    "1F1B": (SERIES[1], "s", "-"),
    "ZB-H1": (SERIES[2], "^", "--"),
    "FSDP": (INK, "D", ":"),
}
_AXES = {"devices": "devices", "depth": "blocks", "width": "width", "batch": "images a step"}


def scaling(swept: Sweep, title: str) -> Drawing:
    """Draw throughput and efficiency of every method; a hollow mark is a plan that does not fit the memory.

    Args:
        swept: of `torchsid.planner.sweep.sweep`.
        title: the model.
    """
    names = list(swept.ends)
    with canvas(2 * _WIDTH, _HEIGHT) as (figure, only):
        only.remove()
        left, right = figure.subplots(1, 2)
        left.set(title="images a second", yscale="log")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        right.set(title="efficiency, % · hollow: does not fit the memory", ylim=(0, 105))
        right.axhline(100, color=MUTED, lw=0.8, ls=":")
        throughput = [[point.methods[place].images_per_second for point in swept.points] for place in range(len(names))]
        efficiency = [[100 * point.methods[place].efficiency for point in swept.points] for place in range(len(names))]
        for axes, lines in ((left, throughput), (right, efficiency)):
            _panel(axes, swept, lines)
        figure.draw_without_rendering()  # now every panel has its place
        for axes, lines in ((left, throughput), (right, efficiency)):
            _name(axes, names, swept.points[-1].value, [line[-1] for line in lines])
        described = "; ".join(f"{name}: half of the ideal throughput {end}" for name, end in swept.ends.items())
        return finish(figure, f"{title}: scaling with {_AXES[swept.axis]}", described)


def _panel(axes: "Axes", swept: Sweep, lines: list[list[float]]) -> None:
    values = [point.value for point in swept.points]
    axes.set_xscale("log", base=2)
    axes.set(xlabel=_AXES[swept.axis], xlim=(values[0] / 1.2, values[-1] * (values[-1] / values[0]) ** 0.2))
    axes.set_xticks(values[:: max(len(values) // 6, 1)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    for place, (name, line) in enumerate(zip(swept.ends, lines, strict=True)):
        colour, shape, style = _STYLES[name]
        axes.plot(values, line, style, color=colour, lw=1.6, zorder=2)
        for point, y in zip(swept.points, line, strict=True):
            fill = colour if point.methods[place].fits else "none"
            axes.plot(point.value, y, shape, color=colour, markerfacecolor=fill, ms=5, zorder=3)


def _name(axes: "Axes", names: list[str], x: float, ends: list[float]) -> None:
    """Write each name to the right of where its line ends, in its colour, pushed up where it would cover another."""
    scale = 72 / axes.figure.dpi
    lowest = -1e9
    for name, y in sorted(zip(names, ends, strict=True), key=lambda named: named[1]):
        here = float(scale * axes.transData.transform((x, y))[1])
        lowest = max(here, lowest + _LINE)
        axes.annotate(
            name, (x, y), xytext=(8, lowest - here), textcoords="offset points", va="center", fontsize=9.5, color=_STYLES[name][0]
        ).set_in_layout(False)
