"""How a size grows along an axis of counts, on logarithmic axes: what is flat does not grow, what is steep does."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torchsid.show.figures.labels import label
from torchsid.show.svg import Drawing, canvas, finish, series
from torchsid.show.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 460, 300  # CSS pixels
_SHAPES = "os^DvPX"  # with the colours, so that the shape alone tells in grey
_LETTER, _MOST = 5.4, 0.42  # room for the names: points a letter, and the largest share of the figure
_MARGIN = 1.4  # above the largest and below the smallest, as a factor

Points = Sequence[tuple[int, float]]


def growth(title: str, across: str, up: str, lines: Mapping[str, Points]) -> Drawing:
    """Draw one line a contender; those that agree everywhere are one line with all their names.

    Args:
        title: of the figure.
        across: name of the counts.
        up: name and unit of the size.
        lines: by name count and size, ascending.
    """
    merged = joined(lines)
    counts = sorted({x for points in lines.values() for x, _ in points})
    sizes = [y for points in lines.values() for _, y in points]
    with canvas(_WIDTH, _HEIGHT) as (figure, axes):
        axes.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
        _frame(axes, counts, sizes, longest=max(len(" = ".join(names)) for names in merged))
        for (first, *_), points in merged.items():
            index = list(lines).index(first)  # so that a contender has one colour in all figures
            colour, style = series(index)
            axes.plot(*zip(*points, strict=True), style, color=colour, lw=1.6, zorder=2)
            axes.plot(*zip(*points, strict=True), _SHAPES[index % len(_SHAPES)], color=colour, ms=5, zorder=3)
        figure.draw_without_rendering()  # now everything has its place
        label(axes, [" = ".join(names) for names in merged], [points[-1] for points in merged.values()])
        described = "; ".join(f"{name}: {', '.join(f'{number(y)} at {x}' for x, y in points)}" for name, points in lines.items())
        return finish(figure, title, described)


def joined(lines: Mapping[str, Points]) -> dict[tuple[str, ...], Points]:
    """Return the lines, those with the same points once, under all their names.

    >>> joined({"a": [(1, 2.0)], "b": [(1, 3.0)], "c": [(1, 2.0)]})
    {('a', 'c'): [(1, 2.0)], ('b',): [(1, 3.0)]}
    """
    names: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for name, points in lines.items():
        names.setdefault(tuple(points), []).append(name)
    return {tuple(same): list(points) for points, same in names.items()}


def _frame(axes: "Axes", counts: Sequence[int], sizes: Sequence[float], *, longest: int) -> None:
    """Set limits with room for names, and a tick at every count that has room for its number."""
    low, high = counts[0], counts[-1] if counts[-1] > counts[0] else 2 * counts[0]
    taken = min(_LETTER * (longest + 3) / _WIDTH, _MOST)
    axes.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** (1.05 * taken / (1 - taken)))
    bottom, top = min(sizes) / _MARGIN, max(sizes) * _MARGIN
    axes.set_ylim(bottom, top)
    axes.set_xticks(counts, [str(count) for count in counts])
    digits = (1, 2, 5) if top > 10 * bottom else (1, 1.5, 2, 3, 5, 7)
    inside = [tick for power in range(-9, 9) for digit in digits if bottom <= (tick := digit * 10.0**power) <= top]
    axes.set_yticks(inside, [f"{tick:,g}" for tick in inside])
    axes.minorticks_off()
