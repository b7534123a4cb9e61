"""The chapter about wrong labels: what the stages answer to training images whose label is not their class."""

import torch
from torch import Tensor

from torchsid.show.certificate.cards import Card, picture, strip
from torchsid.show.certificate.chapter import Chapter, Gallery
from torchsid.show.certificate.part import Part, Subject, spread
from torchsid.show.figures.fates import fate_bars
from torchsid.show.figures.lines import StageLine, lines_by_stage
from torchsid.show.svg import Drawing
from torchsid.show.wording import percent
from torchsid.study.fates import Fates, fates

_EACH = 9  # images found, and images memorised


def wrong_labels(part: Part, subject: Subject) -> Chapter | None:
    """Return what became of the wrong labels of training images; None where none is known to be wrong."""
    name, labels = next(iter(part.labels.items()))
    found = fates(part.atlas, name, labels)
    if found is None:
        return None
    depth = len(found.found)
    shares = torch.stack([found.found, found.memorised, found.other])
    sentences = [
        f"Of {int(found.wrong.sum()):,} wrongly labelled images {_share(found.found)} are answered with their true class by the "
        f"last stage; memorised: {_share(found.memorised)}."
    ]
    if depth > 1:
        sentences.append(
            f"At stage 1 it was {percent(float(found.found[0]), 1)} and {percent(float(found.memorised[0]), 1)}: later stages "
            f"{_moved(found.found, 'find', 'lose')} {_points(found.found)} points of true classes and "
            f"{_moved(found.memorised, 'memorise', 'forget')} {_points(found.memorised)} points of wrong labels."
        )
    if bool((~found.wrong).any()):
        sentences.append(f"Of the rightly labelled images {_share(found.agreed)} are answered with their label.")
    figures = {"fates": fate_bars(shares.numpy(), found.agreed.numpy()), "label-beliefs": _beliefs(found)}
    answered = part.atlas.answers[-1] == labels
    galleries = (
        _gallery("Found in spite of their label", part, subject, labels, found.wrong & part.atlas.right[-1]),
        _gallery("Memorised with their label", part, subject, labels, found.wrong & answered),
    )
    return Chapter(
        "noise", "Wrong labels in training", tuple(sentences), figures, tuple(gallery for gallery in galleries if gallery.cards)
    )


def _beliefs(found: Fates) -> Drawing:
    lines = [
        StageLine("in the true class", (100 * found.in_truth).tolist(), 0),
        StageLine("in the wrong label", (100 * found.in_label).tolist(), 0),
    ]
    if bool(found.in_right.isfinite().all()):
        lines.append(StageLine("in a right label", (100 * found.in_right).tolist(), 0, muted=True))
    truth, label = (percent(float(line[-1]), 0) for line in (found.in_truth, found.in_label))
    title = f"Mean belief ends at {truth} in the true class and {label} in the wrong label"
    return lines_by_stage(title, lines, unit="%", bottom=0)


def _gallery(title: str, part: Part, subject: Subject, labels: Tensor, kind: Tensor) -> Gallery:
    names, atlas = subject.class_names, part.atlas
    cards = tuple(
        Card(
            picture(part.images[place]),
            f"labelled {names[int(labels[place])]}",
            (f"true class {names[int(atlas.truth[place])]}", f"image {place}"),
            strip(atlas, place, names),
        )
        for place in spread(kind, _EACH)
    )
    return Gallery(f"{title}: {len(cards)} of {int(kind.sum()):,}, evenly spread over the split", cards)


def _share(shares: Tensor) -> str:
    return percent(float(shares[-1]), 1)


def _moved(shares: Tensor, up: str, down: str) -> str:
    return up if shares[-1] >= shares[0] else down


def _points(shares: Tensor) -> str:
    return f"{100 * abs(float(shares[-1] - shares[0])):.1f}"
