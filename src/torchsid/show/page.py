"""One self-contained HTML page: a title, and sections of plots and tables.

A page has no script and loads nothing; it is made for a telephone, a screen, dark or light, and paper.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from torchsid.__about__ import __version__
from torchsid.packages import require
from torchsid.show.svg import Drawing
from torchsid.show.tables import Table

_ID = re.compile(r'(?:id="|url\(#|href="#)f[0-9a-f]{8}')


@dataclass(frozen=True)
class Figures:
    """Drawings side by side, as many as there is room for."""

    drawings: Sequence[Drawing]
    narrow: bool = False  # whether three share a row


@dataclass(frozen=True)
class Card:
    """A sample, what is known of it, and a drawing of what was believed about it."""

    sample: str  # HTML that shows the sample
    title: str
    lines: Sequence[str]
    drawing: Drawing


@dataclass(frozen=True)
class Cards:
    """Samples under a heading."""

    title: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Code:
    """A command, or a file."""

    title: str
    text: str


@dataclass(frozen=True)
class Folded:
    """What is shown on demand."""

    title: str
    parts: Sequence["Part"]


Part = Figures | Cards | Code | Table | Folded


@dataclass(frozen=True)
class Section:
    """A section of a page; one without parts is left out."""

    anchor: str
    title: str
    text: str  # one or two sentences that say what is shown
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A page."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    notes: Sequence[str] = ()  # what limits what is shown, a sentence each

    def html(self) -> str:
        """Return the page; a MissingPackageError without Jinja."""
        require("jinja2", extra="report", purpose="a page")
        from jinja2 import Environment, PackageLoader, StrictUndefined

        loader = PackageLoader(__package__, "")
        made = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
        number = count()

        def apart(svg: str) -> str:
            """Return a drawing with identifiers of its own, which equal ones on the page do not share."""
            mine = next(number)
            return _ID.sub(lambda found: f"{found[0]}n{mine}", svg)

        made.filters["apart"] = apart
        sections = [section for section in self.sections if section.parts]
        return made.get_template("page.html.j2").render(page=self, sections=sections, version=__version__)

    def drawings(self) -> dict[str, Drawing]:
        """Return the drawings that are shown at once, by section and number: `triangle-1`."""
        found: dict[str, Drawing] = {}
        for section in self.sections:
            drawings = (drawing for part in section.parts if isinstance(part, Figures) for drawing in part.drawings)
            found |= {f"{section.anchor}-{place}": drawing for place, drawing in enumerate(drawings, 1)}
        return found
