"""A number of every contender, one lane a group: who lies where, and how far apart."""

from collections.abc import Mapping

from torchsid.show.svg import INK, MUTED, Drawing, canvas, finish, series
from torchsid.show.wording import number

_WIDTH, _LANE, _REST = 460, 32, 70  # CSS pixels: of the figure; a group; axis and key
_SHAPES = "os^DvPX"  # with the colours, so that the shape alone tells in grey
_SPREAD = 0.5  # of a lane, over which the marks of a group lie one below the other
_COLUMNS = 3  # of the key

Spread = tuple[float, float, float]
"""Median, first and third quartile."""


def dots(title: str, axis: str, groups: Mapping[str, Mapping[str, Spread]]) -> Drawing:
    """Draw a mark at the median of every contender and a line from quartile to quartile, on a logarithmic axis; 1 is marked.

    Args:
        title: of the figure.
        axis: what the number is.
        groups: by name the numbers of its contenders.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    lines = -(-len(names) // _COLUMNS)
    with canvas(_WIDTH, _LANE * len(groups) + _REST + 16 * lines) as (figure, axes):
        axes.axvline(1, color=MUTED, lw=1, ls=":", zorder=0)
        for lane, group in enumerate(groups.values()):
            for place, (name, (middle, low, high)) in enumerate(group.items()):
                y = lane + _SPREAD * ((place + 0.5) / len(group) - 0.5)
                index = names.index(name)
                colour, shape = series(index)[0], _SHAPES[index % len(_SHAPES)]
                axes.plot([low, high], [y, y], color=colour, lw=1.4)
                axes.plot(middle, y, shape, color=colour, ms=5)
        for index, name in enumerate(names):
            axes.plot([], [], _SHAPES[index % len(_SHAPES)], color=series(index)[0], ms=5, label=name)
        axes.set(xscale="log", xlabel=axis, ylim=(len(groups) - 0.5, -0.5))
        axes.set_xticks(_ticks(*axes.get_xlim()))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
        axes.set_yticks(range(len(groups)), list(groups), fontsize=9.5, color=INK)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.legend(
            ncols=min(len(names), _COLUMNS),
            loc="lower left",
            bbox_to_anchor=(-0.3, 1.0),
            frameon=False,
            fontsize=9.5,
            handlelength=1,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
        described = "; ".join(f"{name}: {_words(group)}" for name, group in groups.items())
        return finish(figure, title, described)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the two, closer ones where these are close."""
    wide = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    return [tick for tick in (wide if high > 4 * low else (0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3)) if low <= tick <= high]


def _words(group: Mapping[str, Spread]) -> str:
    return ", ".join(f"{name} {number(middle)}" for name, (middle, _, _) in group.items())
