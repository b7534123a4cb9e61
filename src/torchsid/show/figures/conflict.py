"""Whether the stages pull the shared extractor in different directions."""

import numpy as np
from numpy.typing import NDArray

from torchsid.show.figures.heat import BAD, GOOD, cell, square
from torchsid.show.methods import Method
from torchsid.show.svg import Drawing, canvas, finish

_ANNOTATED = 12


def recorded_conflict(method: Method) -> list[tuple[int, NDArray[np.float64]]]:
    """Return `(epoch, cosines [L, L])` for every epoch of the method's first run that recorded them, L >= 2."""
    run = method.example or method.runs[0]
    return [(event["epoch"], _matrix(event["conflict"])) for event in run.epochs if _is_matrix(event.get("conflict"))]


def mean_cosine(cosines: NDArray[np.float64]) -> float:
    """Return the mean over pairs of different stages; NaN entries, from gradients of zero, are left out."""
    pairs = cosines[~np.eye(len(cosines), dtype=bool)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def conflict_matrix(method: str, epoch: int, cosines: NDArray[np.float64]) -> Drawing:
    """Draw the pairwise cosines of the stages' gradients in the extractor: blue agrees, red conflicts."""
    depth = len(cosines)
    with canvas(460, 400) as (figure, axes):
        square(axes, depth)
        for i, j in np.argwhere(np.isfinite(cosines)):
            value = float(cosines[i, j])
            text = f"{value:.2f}".replace("-", "−") if depth <= _ANNOTATED else ""
            colour, opacity = (GOOD if value >= 0 else BAD), min(1.0, 0.04 + 0.9 * abs(value))
            cell(axes, i, j, colour, opacity, text, font=10 if depth < 9 else 8.5)
        step = 1 if depth <= _ANNOTATED else max(1, depth // 8)
        ticks = range(0, depth, step)
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_xlabel("stage")
        described = f"Mean over pairs of stages {mean_cosine(cosines):.3f}"
        return finish(figure, f"{method}: cosine of the stages' gradients, epoch {epoch}", described)


def _is_matrix(conflict: object) -> bool:
    return isinstance(conflict, list) and len(conflict) > 1


def _matrix(conflict: list[list[float | None]]) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value for value in row] for row in conflict], dtype=np.float64)
