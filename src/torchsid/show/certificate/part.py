"""What the page of a certificate is made of: a run, and what was found on each of its splits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from torchsid.study.atlas import Atlas
from torchsid.study.certify.certificate import Certificate

_PICTURED = ("test", "validation", "train")  # held-out images before those learnt from


@dataclass(frozen=True)
class Subject:
    """The run that is certified."""

    name: str
    """Of the run's directory."""
    description: str
    """Recipe, weights and objective, in a line."""
    class_names: Sequence[str]
    """One name a class."""
    theory: Sequence[str]
    """What the theory says of the run, a sentence or two each."""
    log_beliefs: Callable[[Tensor], Tensor]
    """From uint8 images `[n, C, H, W]` to log-beliefs `[L+1, n, C]`; called for the few whose every belief is drawn."""
    classes: tuple[int, int, int] | None = None
    """The corners of the triangle; None takes the classes most often taken for each other."""


@dataclass(frozen=True)
class Part:
    """What was found on one split."""

    split: str
    """`train`, `validation` or `test`."""
    images: Tensor
    """uint8 `[N, C, H, W]`."""
    labels: Mapping[str, Tensor]
    """The labels certified against, `[N]` by name; the last are the true ones, as far as they are known."""
    certificates: Mapping[str, Certificate]
    """One for each set of labels."""
    atlas: Atlas
    """What the stages answer."""

    @property
    def certificate(self) -> Certificate:
        """That against the true labels."""
        return list(self.certificates.values())[-1]

    @property
    def noun(self) -> str:
        """The images in words: `test images`, `training images`."""
        return f"{'training' if self.split == 'train' else self.split} images"


def pictured(parts: Sequence[Part]) -> Part:
    """Return the part whose images are shown: test images before validation images before training images."""
    return min(parts, key=lambda part: _PICTURED.index(part.split))


def spread(candidates: Tensor, count: int) -> list[int]:
    """Return up to `count` places where `candidates` (bool `[N]`) is true, evenly spread over them, ascending."""
    places: list[int] = candidates.nonzero().flatten().tolist()
    if len(places) <= count:
        return places
    return [places[step * len(places) // count] for step in range(count)]
