"""How throughput and efficiency go with the devices, the depth, the width or the batch, as `torchsid plan` forecasts them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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


Line = Sequence[tuple[float, float, bool]]  # images a second, efficiency, and whether it fits the memory, at each value


def scaling(axis: str, values: Sequence[int], lines: Mapping[str, Line], title: str) -> Drawing:
    """Draw throughput and efficiency of every method; a hollow mark is a plan that does not fit the memory.

    Args:
        axis: what is varied: devices, depth, width or batch.
        values: at which.
        lines: of the methods by name.
        title: the model.
    """
    with canvas(2 * _WIDTH, _HEIGHT) as (figure, only):
        only.remove()
        left, right = figure.subplots(1, 2)
        left.set(title="images a second", yscale="log")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        right.set(title="efficiency, % · hollow: does not fit the memory", ylim=(0, 105))
        right.axhline(100, color=MUTED, lw=0.8, ls=":")
        throughput = {name: [(rate, fits) for rate, _, fits in line] for name, line in lines.items()}
        efficiency = {name: [(100 * share, fits) for _, share, fits in line] for name, line in lines.items()}
        for axes, shown in ((left, throughput), (right, efficiency)):
            _panel(axes, axis, values, shown)
        figure.draw_without_rendering()  # now every panel has its place
        for axes, shown in ((left, throughput), (right, efficiency)):
            _name(axes, list(shown), values[-1], [line[-1][0] for line in shown.values()])
        return finish(figure, f"{title}: scaling with {_AXES[axis]}", "; ".join(lines))


def _panel(axes: "Axes", axis: str, values: Sequence[int], lines: Mapping[str, Sequence[tuple[float, bool]]]) -> None:
    axes.set_xscale("log", base=2)
    axes.set(xlabel=_AXES[axis], xlim=(values[0] / 1.2, values[-1] * (values[-1] / values[0]) ** 0.2))
    axes.set_xticks(values[:: max(len(values) // 6, 1)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    for name, line in lines.items():
        colour, shape, style = _STYLES[name]
        axes.plot(values, [y for y, _ in line], style, color=colour, lw=1.6, zorder=2)
        for value, (y, fits) in zip(values, line, strict=True):
            axes.plot(value, y, shape, color=colour, markerfacecolor=colour if fits else "none", ms=5, zorder=3)


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
