"""Wholes and the parts that they are made of: one bar each, as long as the whole is 1."""

from collections.abc import Mapping, Sequence

from torchsid.show.svg import INK, PAPER, SERIES, Drawing, canvas, finish

_WIDTH, _LANE, _REST = 640, 26, 74  # CSS pixels: of the figure; a bar with its gap; axis and key
_BAR = 0.66  # of the height of a lane
_ROOM = 0.055  # a share that has room for its number


def shares(title: str, parts: Sequence[str], wholes: Mapping[str, Mapping[str, float]]) -> Drawing:
    """Draw one bar a whole, its parts in the same order and colours; a share with room for it is written in its place.

    Args:
        title: of the figure.
        parts: all that there are, in order.
        wholes: by name the shares of its parts, which add up to about 1; one that it lacks is 0.
    """
    with canvas(_WIDTH, _LANE * len(wholes) + _REST) as (figure, axes):
        for lane, found in enumerate(wholes.values()):
            left = 0.0
            for place, part in enumerate(parts):
                share = found.get(part, 0.0)
                axes.barh(lane, share, _BAR, left=left, color=SERIES[place % len(SERIES)], edgecolor=PAPER, lw=0.8)
                if share >= _ROOM:
                    middle = left + share / 2
                    axes.text(middle, lane, f"{100 * share:.0f}", ha="center", va="center_baseline", fontsize=9.5, color=PAPER)
                left += share
        axes.set_yticks(range(len(wholes)), list(wholes), fontsize=10, color=INK)
        axes.set(xlim=(0, 1), ylim=(len(wholes) - 0.5, -0.5), xlabel="share of the step, %")
        axes.set_xticks([place / 4 for place in range(5)], ["0", "25", "50", "75", "100"])
        axes.grid(visible=False)
        handles = [axes.barh(-9, 0, color=SERIES[place % len(SERIES)], label=part) for place, part in enumerate(parts)]
        axes.legend(
            handles=handles,
            ncols=len(parts),
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            frameon=False,
            fontsize=10,
            handlelength=1,
            borderaxespad=0.2,
        )
        described = "; ".join(f"{name}: {_words(found)}" for name, found in wholes.items())
        return finish(figure, title, described)


def _words(found: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {100 * share:.0f} %" for part, share in found.items())
