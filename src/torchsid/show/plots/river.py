"""A river of beliefs: how the stages shared out their belief about one sample."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from torchsid.show.svg import Drawing, element
from torchsid.show.text import percent, shortened

_WIDTH, _HEIGHT = 330, 120
_COLOURS = ("s3", "s2", "s5", "s6", "s4")  # the first outcome's is green
_WIDE = 0.17  # a band of this height has room for its name


def river(beliefs: NDArray[np.float64], names: Sequence[str], first: int, *, shown: int = 4) -> Drawing:
    """Draw the beliefs from the prior to the last stage, a band an outcome, as high as its probability.

    Args:
        beliefs: `[L+1, C]`.
        names: of the C outcomes.
        first: the outcome at the bottom, in green: the right one, as a rule.
        shown: outcomes with a band of their own; the others share a grey one on top.
    """
    # Ranked by their greatest share after the prior: whoever led at some stage is seen.
    ranked = [int(k) for k in np.argsort(-beliefs[1:].max(axis=0), kind="stable") if k != first]
    outcomes = [first, *ranked[: shown - 1]]
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
    stages = sorted({0, *np.linspace(1, depth, min(depth, 5)).round().astype(int).tolist()})
    ticks = (_text(across[stage], -0.1, str(stage) if stage else "prior", "muted") for stage in stages)
    spoken = (f"{names[k]} {', '.join(percent(share, 0) for share in beliefs[:, k])}" for k in outcomes[:2])
    box = f"0 0 {_WIDTH} {_HEIGHT + 18}"
    return Drawing("Belief by stage", element(box, "".join([*body, *texts, *ticks]), f"Belief by stage. {'; '.join(spoken)}"))


def _band(across: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], colour: str, opacity: float) -> str:
    corners = [*zip(across, high, strict=True), *zip(across[::-1], low[::-1], strict=True)]
    path = " ".join(f"{x:.1f},{_HEIGHT * (1 - y):.1f}" for x, y in corners)
    return f'<polygon points="{path}" fill="var(--{colour})" fill-opacity="{opacity}" stroke="var(--paper)" stroke-width="0.8"/>'


def _text(x: float, y: float, text: str, colour: str = "") -> str:
    side = "start" if x < 0.25 * _WIDTH else "end" if x > 0.75 * _WIDTH else "middle"
    where = f'x="{x + {"start": 4, "end": -4, "middle": 0}[side]:.1f}" y="{_HEIGHT * (1 - y) + 4:.1f}" text-anchor="{side}"'
    style = f'font-size="11" fill="var(--{colour})"' if colour else 'font-size="12" font-weight="600" fill="currentColor"'
    return f"<text {where} {style}>{escape(shortened(text, 22))}</text>"
