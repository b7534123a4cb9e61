"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchsid.show.figures.heat import BAD, GOOD, cell, name_ticks, square
from torchsid.show.svg import Drawing, canvas, finish

ANNOTATED = 20  # up to this many classes every cell carries its count


class Confused(NamedTuple):
    """A true class, what it is taken for, how often, and the share of that class's samples."""

    true: str
    answer: str
    times: int
    share: float


def most_confused(confusion: NDArray[np.int64], class_names: Sequence[str], limit: int = 10) -> list[Confused]:
    """Return the pairs of classes confused most often, by count; `confusion` is `[C, C]` with the truth in rows."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(int(flat // len(wrong)), int(flat % len(wrong))) for flat in order]
    return [
        Confused(class_names[i], class_names[j], int(wrong[i, j]), float(wrong[i, j] / confusion[i].sum()))
        for i, j in pairs
        if wrong[i, j]
    ]


def confusion_matrix(confusion: NDArray[np.int64], class_names: Sequence[str], method: str) -> Drawing:
    """Draw the confusion matrix: rows the truth, columns the answer, shade the share of the row, errors in red."""
    size = len(confusion)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    width = 460 if size <= 12 else 600
    with canvas(width, width * 0.92) as (figure, axes):
        square(axes, size)
        if size <= ANNOTATED:
            for i, j in np.argwhere(confusion):
                colour, opacity = (GOOD if i == j else BAD), _opacity(share[i, j], wrong=i != j)
                cell(axes, i, j, colour, opacity, str(confusion[i, j]))
            name_ticks(axes, class_names)
        else:
            axes.imshow(_shades(share), interpolation="nearest")
            axes.spines[:].set_visible(True)
            axes.set_xticks([])
            axes.set_yticks([])
        axes.set_xlabel("answer")
        axes.set_title("true class")
        right = int(np.trace(confusion))
        described = f"{right} of {int(confusion.sum())} right; rows are true classes, columns answers"
        return finish(figure, f"{method}: confusion matrix", described)


def _opacity(share: float, *, wrong: bool) -> float:
    """Return the opacity of a cell: errors are rare, so theirs rises faster."""
    return float(min(1.0, 0.12 + 2.2 * share)) if wrong else float(0.1 + 0.8 * share)


def _shades(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `[C, C, 4]` colours for many classes; a picture cannot take the page's colours, so these fit both."""
    shades = np.zeros((*share.shape, 4))
    shades[..., :3] = (0.85, 0.40, 0.10)
    shades[..., 3] = np.minimum(1.0, np.sqrt(share) * 1.5)
    diagonal = np.arange(len(share))
    shades[diagonal, diagonal, :3] = (0.15, 0.52, 0.78)
    shades[diagonal, diagonal, 3] = 0.1 + 0.9 * share[diagonal, diagonal]
    return shades
