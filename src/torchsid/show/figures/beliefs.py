"""How the stages changed their mind about single images."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from torchsid.errors import RunError
from torchsid.show.record import Samples
from torchsid.show.svg import MUTED, PAPER, SERIES, Drawing, canvas, finish

_SHOWN = 4  # classes drawn apart; the others share one band
_TRUE, *_OTHERS = SERIES[2], SERIES[1], SERIES[4], SERIES[5], SERIES[3]


@dataclass(frozen=True)
class Trajectory:
    """One image and the beliefs of all stages about it."""

    image: str  # a data URI
    caption: str
    kind: str  # "wrong", "changed its mind" or "decided at once"
    river: Drawing


def settled_stage(beliefs: NDArray[np.float64]) -> int:
    """Return the first stage from which every stage gives the final answer; `beliefs` is `[L+1, C]`, L >= 1.

    The prior is not an answer, so the result is in [1, L].
    """
    answers = beliefs[1:].argmax(axis=1)
    dissent = np.flatnonzero(answers != answers[-1])
    return 1 if dissent.size == 0 else int(dissent[-1]) + 2


def trajectories(samples: Samples, class_names: Sequence[str], limit: int = 12) -> list[Trajectory]:
    """Return up to `limit` trajectories, shared out over the three kinds, those decided at once first."""
    described = [_describe(samples.beliefs[:, k], int(samples.labels[k]), class_names) for k in range(len(samples.labels))]
    kinds = ("decided at once", "changed its mind", "wrong")
    queues = {kind: [k for k, entry in enumerate(described) if entry[0] == kind] for kind in kinds}
    chosen: set[int] = set()
    while len(chosen) < min(limit, len(described)):
        chosen.update(queue.pop(0) for queue in queues.values() if queue and len(chosen) < limit)
    order = sorted(chosen, key=lambda k: (kinds.index(described[k][0]), k))
    return [
        Trajectory(
            data_uri(samples.images[k]),
            described[k][1],
            described[k][0],
            _river(samples.beliefs[:, k], int(samples.labels[k]), class_names, described[k][1]),
        )
        for k in order[:limit]
    ]


def _describe(beliefs: NDArray[np.float64], label: int, class_names: Sequence[str]) -> tuple[str, str]:
    depth, answer, settled = len(beliefs) - 1, int(beliefs[-1].argmax()), settled_stage(beliefs)
    when = f"from stage {settled} of {depth}" if depth > 1 else "at its one stage"
    caption = f"True: {class_names[label]}. Answer: {class_names[answer]}, {when}."
    if answer != label:
        return "wrong", caption
    return ("decided at once" if settled == 1 else "changed its mind"), caption


def _river(beliefs: NDArray[np.float64], label: int, class_names: Sequence[str], caption: str) -> Drawing:
    depth = len(beliefs) - 1
    # Ranked by their greatest share after the prior: whoever led at some stage is seen.
    ranked = [int(k) for k in np.argsort(-beliefs[1:].max(axis=0), kind="stable") if k != label]
    classes = [label, *ranked[: _SHOWN - 1]]
    bands = [beliefs[:, k] for k in classes]
    rest = 1 - np.sum(bands, axis=0)
    with canvas(330, 138) as (figure, axes):
        stages = np.arange(depth + 1)
        colours = [_TRUE, *_OTHERS[: len(classes) - 1], MUTED]
        areas = axes.stackplot(stages, *bands, rest, colors=colours, edgecolor=PAPER, linewidth=0.8)
        for area, alpha in zip(areas, [*[0.55] * len(classes), 0.18], strict=True):
            area.set_alpha(alpha)
        base = np.zeros(depth + 1)
        for k, band in zip(classes, bands, strict=True):
            widest = int(band.argmax())
            if band[widest] >= 0.16:
                side = "left" if widest < 0.3 * depth else "right" if widest > 0.7 * depth else "center"
                shift = {"left": 0.01, "right": -0.01, "center": 0.0}[side] * depth
                middle = base[widest] + band[widest] / 2
                name = axes.text(widest + shift, middle, class_names[k][:24], ha=side, va="center", fontweight="bold")
                name.set_in_layout(False)  # a long name must not squeeze the river
            base += band
        axes.set(xlim=(0, depth), ylim=(0, 1))
        axes.grid(visible=False)
        axes.set_yticks([])
        axes.set_xticks(sorted({0, *np.linspace(1, depth, min(depth, 5)).round().astype(int).tolist()}))
        axes.spines["bottom"].set_visible(False)
        return finish(figure, "Belief by stage", caption)


def data_uri(image: NDArray[np.uint8]) -> str:
    """Encode one image `[C, H, W]`, grey or colour, as a PNG in a data URI."""
    try:
        from PIL import Image
    except ImportError:
        raise RunError("sample images need Pillow; install it with pip install 'torchsid[report]'") from None

    buffer = BytesIO()
    pixels = image[0] if image.shape[0] == 1 else np.moveaxis(image[:3], 0, -1)
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
