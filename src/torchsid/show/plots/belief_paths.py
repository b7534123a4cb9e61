"""What was believed: a river from the prior to the last stage, or a way through the triangle of three outcomes."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchsid.show.svg import MUTED, PAPER, RULE, Drawing, canvas, element, finish, look
from torchsid.show.tables import number, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 330, 120
_LEFT, _BELOW = 40, 38  # room for the numbers of the axes
_COLOURS = ("s3", "s2", "s5", "s6")  # the first outcome's is green
_WIDE = 0.17  # a band of this height has room for its name


def river(beliefs: NDArray[np.float64], names: Sequence[str], first: int) -> Drawing:
    """Draw the beliefs `[L+1, C]` from the prior to the last stage, a band an outcome, as high as its probability.

    The first outcome, as a rule the right one, is at the bottom, in green; those beyond the fourth share a grey band on top.
    """
    # Ranked by their greatest share after the prior: whoever led at some stage is seen.
    ranked = [int(k) for k in np.argsort(-beliefs[1:].max(axis=0), kind="stable") if k != first]
    outcomes = [first, *ranked[: len(_COLOURS) - 1]]
    across, depth = np.linspace(0, _WIDTH, len(beliefs)), len(beliefs) - 1
    base, body = np.zeros(len(beliefs)), [_band(across, 0 * beliefs[:, 0], 0 * beliefs[:, 0] + 1, "muted", 0.18)]
    texts = []
    for outcome, colour in zip(outcomes, _COLOURS, strict=False):
        band = beliefs[:, outcome]
        body.append(_band(across, base, base + band, colour, 0.55))
        widest = int(band.argmax())
        if band[widest] >= _WIDE:
            texts.append(_text(across[widest], base[widest] + band[widest] / 2, names[outcome]))
        base = base + band
    stages = sorted({0, *np.linspace(min(depth, max(1, depth // 5)), depth, min(depth, 5)).round().astype(int).tolist()})
    ticks = [_text(across[stage], -0.1, str(stage) if stage else "prior", "muted") for stage in stages]
    ticks += [_text(-6, share, f"{100 * share:.0f}\u00a0%", "muted", "end") for share in (0, 0.5, 1)]
    ticks.append(_text(_WIDTH / 2, -0.225, "stage", "muted"))
    spoken = (f"{names[k]} {', '.join(percent(share, 0) for share in beliefs[:, k])}" for k in outcomes[:2])
    box = f"{-_LEFT} -8 {_WIDTH + _LEFT + 2} {_HEIGHT + _BELOW}"
    return Drawing("Belief by stage", element(box, "".join([*body, *texts, *ticks]), f"Belief by stage. {'; '.join(spoken)}"))


def _band(across: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], colour: str, opacity: float) -> str:
    corners = [*zip(across, high, strict=True), *zip(across[::-1], low[::-1], strict=True)]
    path = " ".join(f"{x:.1f},{_HEIGHT * (1 - y):.1f}" for x, y in corners)
    return f'<polygon points="{path}" fill="var(--{colour})" fill-opacity="{opacity}" stroke="var(--paper)" stroke-width="0.8"/>'


def _text(x: float, y: float, text: str, colour: str = "", side: str = "") -> str:
    side = side or ("start" if x < 0.25 * _WIDTH else "end" if x > 0.75 * _WIDTH else "middle")
    where = f'x="{x + {"start": 4, "end": -4, "middle": 0}[side]:.1f}" y="{_HEIGHT * (1 - y) + 4:.1f}" text-anchor="{side}"'
    style = f'font-size="11" fill="var(--{colour})"' if colour else 'font-size="12" font-weight="600" fill="currentColor"'
    return f"<text {where} {style}>{escape(shortened(text, 16))}</text>"


CORNERS = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])
"""Where each of the three is certain, `[3, 2]`: an equilateral triangle with sides of 1."""
_DOTS = 20  # up to this many stages each has its dot on the mean path


def simplex(
    title: str, means: NDArray[np.float64], singles: NDArray[np.float64], outcomes: NDArray[np.int64], names: Sequence[str]
) -> Drawing:
    """Draw the path of the mean belief about each of three outcomes, and thin ones of single samples, from the prior on.

    The means `[L+1, 3, 3]` are about the samples whose right outcome is that of row k, and rows sum to 1. The singles
    `[L+1, n, 3]` have the right outcomes 0, 1 or 2, `[n]`.
    """
    with canvas(460, 430) as (figure, axes):
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set(xlim=(-0.06, 1.06), ylim=(-0.09, CORNERS[2, 1] + 0.08))
        _triangle(axes, names)
        for k in range(3):
            colour, _, mark = look(k)
            for path in (singles[:, outcomes == k] @ CORNERS).transpose(1, 0, 2):
                axes.plot(*path.T, color=colour, alpha=0.3, lw=0.8, zorder=2)
                axes.plot(*path[-1], mark, color=colour, alpha=0.6, ms=3.5, mew=0, zorder=2)
        for k in range(3):
            colour, _, mark = look(k)
            path = means[:, k] @ CORNERS
            axes.plot(*path.T, color=PAPER, lw=5, zorder=3)
            axes.plot(*path.T, color=colour, lw=2.4, zorder=4)
            dots = path[1:] if len(path) <= _DOTS else path[-1:]
            axes.plot(*dots.T, mark, color=colour, ms=7, mec=PAPER, mew=1, zorder=5)
        return finish(figure, title, "; ".join(f"{name}: {number(means[-1, k, k])} at the end" for k, name in enumerate(names)))


def _triangle(axes: "Axes", names: Sequence[str]) -> None:
    for share in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = [share * CORNERS[k] + (1 - share) * CORNERS[other] for other in range(3) if other != k]
            axes.plot(*np.array(ends).T, color=RULE, lw=0.8, zorder=0)
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color=MUTED, lw=1.2, zorder=1)
    for k, (corner, side) in enumerate(zip(CORNERS, ("left", "right", "center"), strict=True)):
        shift, above = ((0, -12), "top") if k < 2 else ((0, 10), "bottom")
        text: dict[str, Any] = {"ha": side, "va": above, "color": look(k)[0], "fontweight": "bold", "fontsize": 12}
        axes.annotate(shortened(names[k], 24), corner, xytext=shift, textcoords="offset points", **text)
    axes.plot(*CORNERS.mean(axis=0), "+", color=MUTED, ms=9, mew=1.4, zorder=6)
