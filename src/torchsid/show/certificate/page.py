"""The page of a certificate: one self-contained HTML file, no script, nothing loaded from anywhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torchsid.__about__ import __version__
from torchsid.errors import RunError
from torchsid.show.certificate.cards import PIXELATED
from torchsid.show.certificate.chapter import Chapter
from torchsid.show.certificate.images import failures, flips, rivers
from torchsid.show.certificate.noise import wrong_labels
from torchsid.show.certificate.part import Part, Subject, pictured
from torchsid.show.certificate.stages import accuracy_and_calibration, by_class, triangle
from torchsid.show.certificate.statements import Statement, statements
from torchsid.show.page import environment
from torchsid.show.standalone import standalone
from torchsid.show.wording import percent
from torchsid.training.durable import os_errors, write_text


def render(subject: Subject, parts: Sequence[Part], out: Path, *, figures: Path | None = None) -> Path:
    """Write the page and return its path; it is written whole or not at all.

    Args:
        subject: the run.
        parts: at least one. Test images are pictured, or validation images, or those of training.
        out: the file to write.
        figures: a directory for the figures as SVG files of their own.

    Raises:
        RunError: a file cannot be written, `out` is a directory, or a package of the extra `torchsid[report]` is missing.
    """
    if out.is_dir():
        raise RunError(f"{out} is a directory; name the file to write, for example {out / 'certificate.html'}")
    found = [statement for part in _in_order(parts) for statement in statements(part, subject.class_names)]
    chapters = list(_chapters(subject, parts))
    shown = pictured(parts)
    page = (
        environment("page")
        .get_template("certificate.html.j2")
        .render(
            version=__version__,
            title=f"Certificate of {subject.name}",
            subtitle=subject.description,
            headline=_headline(shown),
            theory=subject.theory,
            statements=found,
            chapters=chapters,
            pictured=shown.noun,
            pixelated=max(shown.images.shape[-2:]) <= PIXELATED,
        )
    )
    for path in filter(None, (out.parent, figures)):
        with os_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    if figures:
        _write_figures(figures, [*found, *chapters])
    return out


def _chapters(subject: Subject, parts: Sequence[Part]) -> Iterator[Chapter]:
    """Yield the chapters that the run has something to say in."""
    shown = pictured(parts)
    yield failures(shown, subject)
    yield by_class(shown, subject)
    yield accuracy_and_calibration(shown)
    if chapter := triangle(shown, subject):
        yield chapter
    if chapter := flips(shown, subject):
        yield chapter
    for part in parts:
        if part.split == "train" and (chapter := wrong_labels(part, subject)):
            yield chapter
    yield rivers(shown, subject)


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """Return the parts, that whose images are shown first."""
    return sorted(parts, key=lambda part: part is not pictured(parts))


def _headline(part: Part) -> str:
    accuracy, certificate = part.atlas.accuracy.tolist(), part.certificate
    answers = f"stage 1 answers {percent(accuracy[0], 1)} rightly" + (
        f", stage {len(accuracy)} {percent(accuracy[-1], 1)}" if len(accuracy) > 1 else ""
    )
    return (
        f"Of {certificate.n:,} {part.noun} {answers}. KL to the label falls at every stage for "
        f"{percent(certificate.descent_everywhere, 1)} of them; the premise of Proposition 2 holds throughout for "
        f"{percent(certificate.premise_everywhere, 1)}."
    )


def _write_figures(directory: Path, sources: Sequence[Statement | Chapter]) -> None:
    for source in sources:
        for name, drawing in source.figures.items():
            write_text(directory / f"{name}.svg", standalone(drawing))
