"""Single images with what the stages answered: a picture, a few words, and a strip of the answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchsid.show.figures.beliefs import data_uri
from torchsid.study.atlas import Atlas

PIXELATED = 64  # up to this size pixels are shown as squares
_LARGEST = 128  # pixels a side; more would only make the page heavy


class Run(NamedTuple):
    """A run of equal answers."""

    name: str
    right: bool
    first: int
    """The first of its stages."""
    last: int
    """The last of its stages."""

    @property
    def length(self) -> int:
        """How many stages it has."""
        return self.last - self.first + 1


class Card(NamedTuple):
    """One image."""

    image: str
    """A data URI."""
    title: str
    lines: tuple[str, ...]
    strip: tuple[Run, ...]

    @property
    def answers(self) -> str:
        """The strip, in words."""
        runs = (
            f"{run.name} ({'right' if run.right else 'wrong'}) at stage{'' if run.length == 1 else 's'} "
            f"{run.first if run.length == 1 else f'{run.first} to {run.last}'}"
            for run in self.strip
        )
        return f"Answers: {', then '.join(runs)}"


def strip(atlas: Atlas, place: int, class_names: Sequence[str]) -> tuple[Run, ...]:
    """Return the answers to one image as runs of equal ones."""
    answers = atlas.answers[:, place].tolist()
    starts = [stage for stage in range(len(answers)) if stage == 0 or answers[stage] != answers[stage - 1]]
    truth = int(atlas.truth[place])
    return tuple(
        Run(class_names[answers[start]], answers[start] == truth, start + 1, end)
        for start, end in zip(starts, [*starts[1:], len(answers)], strict=True)
    )


def picture(image: Tensor) -> str:
    """Return one image, uint8 `[C, H, W]`, as a data URI; a large one is made smaller."""
    return data_uri(small(image.unsqueeze(0))[0])


def small(images: Tensor) -> NDArray[np.uint8]:
    """Return images, uint8 `[n, C, H, W]`, of at most 128 pixels a side, proportions kept."""
    height, width = images.shape[-2:]
    scale = _LARGEST / max(height, width)
    if scale >= 1:
        return np.asarray(images.numpy())
    size = (max(round(scale * height), 1), max(round(scale * width), 1))
    return np.asarray(adaptive_avg_pool2d(images.float(), size).round().byte().numpy())
