"""A chapter of the page: what is said, then figures, then galleries of images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torchsid.show.certificate.cards import Card
from torchsid.show.figures.beliefs import Trajectory
from torchsid.show.svg import Drawing


@dataclass(frozen=True)
class Gallery:
    """Images under a heading."""

    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Chapter:
    """One chapter; `figures` are by file name."""

    anchor: str
    title: str
    sentences: tuple[str, ...]
    figures: Mapping[str, Drawing] = field(default_factory=dict)
    galleries: tuple[Gallery, ...] = ()
    rivers: tuple[Trajectory, ...] = ()
    narrow: bool = False
    """Whether three figures share a row."""
    keyed: bool = False

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The figures."""
        return tuple(self.figures.values())
