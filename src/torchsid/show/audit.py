"""The page of an audit: the images whose labels are the most suspicious, with the beliefs of all stages about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchsid.__about__ import __version__
from torchsid.show.figures.beliefs import data_uri
from torchsid.show.page import environment
from torchsid.training.durable import write_text

_WIDTH, _HEIGHT = 300, 84  # of a river, in its own units


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One training image and what is known of its label; classes by name."""

    image: NDArray[np.uint8]
    """`[C, H, W]`, grey or colour."""
    row: str
    """Of the data set's file."""
    label: str
    suggested: str
    true: str | None
    """None where nobody knows."""
    score: str
    agrees: str
    """The stage from which on the answer is the label, in words."""
    given_belief: NDArray[np.float64]
    """In the label, of the prior and each stage, `[L+1]`."""
    suggested_belief: NDArray[np.float64]
    """In the suggested class, likewise."""

    @property
    def disputed(self) -> bool:
        """Whether another class is suggested."""
        return self.suggested != self.label

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return data_uri(self.image)

    @property
    def given_band(self) -> str:
        """Corners of a band from below, as high as the belief in the label: an SVG polygon's `points`."""
        return _band(_HEIGHT, _HEIGHT * (1 - self.given_belief))

    @property
    def suggested_band(self) -> str:
        """Corners of a band from above; the two never meet, since the beliefs in two classes sum to 1 at most."""
        return _band(0.0, _HEIGHT * self.suggested_belief)

    @property
    def spoken(self) -> str:
        """The river in words, for those who cannot see it."""
        both = [(self.label, self.given_belief), (self.suggested, self.suggested_belief)][: 1 + self.disputed]
        told = (f"in {name} {', '.join(f'{100 * value:.0f} %' for value in belief)}" for name, belief in both)
        return f"Belief from the prior to the last stage: {'; '.join(told)}"


def render_audit(
    suspects: Sequence[Suspect], out: Path, *, title: str, subtitle: str, sentences: Sequence[str], command: str
) -> Path:
    """Write a self-contained page with the images, most suspicious first, and return its path.

    Args:
        suspects: in the order to show them.
        out: the file, which is replaced at once.
        title: what was audited.
        subtitle: run, weights, number of images.
        sentences: what was found in all images.
        command: what was typed.

    Raises:
        RunError: Jinja or Pillow are missing, or the file cannot be written.
    """
    template = environment("page of an audit").get_template("audit.html.j2")
    page = template.render(
        version=__version__,
        title=title,
        subtitle=subtitle,
        sentences=sentences,
        suspects=suspects,
        command=command,
        width=_WIDTH,
        height=_HEIGHT,
    )
    write_text(out, page)
    return out


def _band(edge: float, line: NDArray[np.float64]) -> str:
    """Return the area between a straight edge and a line over the stages."""
    across = np.linspace(0, _WIDTH, len(line))
    corners = [(0.0, edge), *zip(across.tolist(), line.tolist(), strict=True), (float(_WIDTH), edge)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
