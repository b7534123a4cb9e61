"""The chapters about single images: where descent fails, whose answer flips late, and a few belief rivers."""

from statistics import median

import numpy as np
import torch

from torchsid.show.certificate.cards import Card, picture, small, strip
from torchsid.show.certificate.chapter import Chapter, Gallery
from torchsid.show.certificate.part import Part, Subject, spread
from torchsid.show.figures.beliefs import trajectories
from torchsid.show.figures.by_class import failing_bars
from torchsid.show.figures.settling import settling_bars
from torchsid.show.record import Samples
from torchsid.show.wording import counted, number, percent

_FAILING, _FLIPPED = 12, 24  # images shown
_EACH_RIVER = 3  # decided at once, changed, wrong
_LARGE = 0.1  # nats


def failures(part: Part, subject: Subject) -> Chapter:
    """The images whose belief a stage took away from the label, the largest rise first."""
    worst: dict[int, tuple[float, int]] = {}  # place: largest rise, stage
    rises: list[float] = []
    for stage in part.certificate.stages:
        rises += stage.failures.rises
        for place, rise in zip(stage.failures.samples, stage.failures.rises, strict=True):
            worst[place] = max(worst.get(place, (rise, stage.stage)), (rise, stage.stage))
    title, count = "Where descent fails", part.certificate.n
    if not worst:
        return Chapter("failures", title, (f"Nowhere: KL rises at no stage for any of the {count:,} {part.noun}.",))
    large = sum(rise > _LARGE for rise, _ in worst.values())
    sentences = (
        f"KL to the label rises at some stage for {len(worst):,} of {count:,} {part.noun} ({percent(len(worst) / count, 1)}).",
        f"Half of the {counted(len(rises), 'rise')} are of {number(median(rises))} nats or less; {counted(large, 'image')} "
        f"rise{'s' if large == 1 else ''} by more than {_LARGE} nats at a stage.",
    )
    failing = torch.bincount(part.atlas.truth[list(worst)], minlength=part.atlas.num_classes)
    order = sorted(worst, key=lambda place: -worst[place][0])[:_FAILING]
    cards = tuple(_failure(part, subject, place, *worst[place]) for place in order)
    gallery = Gallery(f"The {counted(len(cards), 'image')} with the largest rise".replace("The 1 image", "The one image"), cards)
    bars = failing_bars(failing.numpy(), part.atlas.class_sizes.numpy(), subject.class_names)
    return Chapter("failures", title, sentences, {"failures": bars}, (gallery,))


def _failure(part: Part, subject: Subject, place: int, rise: float, stage: int) -> Card:
    truth = subject.class_names[int(part.atlas.truth[place])]
    lines = (
        f"image {place}, stage {stage}: +{number(rise)} nats",
        f"before: {_belief(part, subject, place, stage - 1)}",
        f"after: {_belief(part, subject, place, stage)}",
    )
    return Card(picture(part.images[place]), f"true class {truth}", lines, strip(part.atlas, place, subject.class_names))


def _belief(part: Part, subject: Subject, place: int, stage: int) -> str:
    """Return what is believed most, and how much of the belief is left for the true class."""
    atlas, names = part.atlas, subject.class_names
    of_truth = percent(float(list(atlas.belief_in.values())[-1][stage, place]), 0)
    truth = int(atlas.truth[place])
    if stage == 0:
        return f"the prior, {names[truth]} at {of_truth}"
    answer = int(atlas.answers[stage - 1, place])
    text = f"{names[answer]} at {percent(float(atlas.confidence[stage - 1, place]), 0)}"
    return text if answer == truth else f"{text}, {names[truth]} at {of_truth}"


def flips(part: Part, subject: Subject) -> Chapter | None:
    """The images whose answer changes after stage 1, the latest first; None where there is one stage."""
    atlas = part.atlas
    depth, count = atlas.answers.shape
    if depth == 1:
        return None
    figures = {"settling": settling_bars(atlas.settling.numpy())}
    late = (atlas.settled > 1).nonzero().flatten()
    if not len(late):
        sentence = f"No answer changes after stage 1, for any of the {count:,} {part.noun}."
        return Chapter("flips", "Who changes the answer", (sentence,), figures)
    before, after = _right_before(part)[late], atlas.right[-1][late]
    sentences = (
        f"For {counted(len(late), 'image')} of {count:,} ({percent(len(late) / count, 1)}) the answer changes after stage 1. "
        f"The last flip corrects {int((~before & after).sum())}, spoils {int((before & ~after).sum())} "
        f"and replaces one wrong class by another in {int((~before & ~after).sum())}.",
    )
    order = late[atlas.settled[late].argsort(descending=True, stable=True)].tolist()[:_FLIPPED]
    cards = tuple(
        Card(
            picture(part.images[place]),
            f"true class {subject.class_names[int(atlas.truth[place])]}",
            (f"image {place}", f"last flip at stage {int(atlas.settled[place])}: {'right' if atlas.right[-1][place] else 'wrong'}"),
            strip(atlas, place, subject.class_names),
        )
        for place in order
    )
    shown = "All of them" if len(cards) == len(late) else f"The {len(cards)} that flip last"
    return Chapter("flips", "Who changes the answer", sentences, figures, (Gallery(f"{shown}, the latest flip first", cards),))


def _right_before(part: Part) -> torch.Tensor:
    """Return whether the answer before the last flip was right, `[N]`; the first one, where there is no flip."""
    before = (part.atlas.settled - 2).clamp(min=0).unsqueeze(0)
    return part.atlas.right.gather(0, before).squeeze(0)


def rivers(part: Part, subject: Subject) -> Chapter:
    """The beliefs of every stage about a few images."""
    right, at_once = part.atlas.right[-1], part.atlas.settled == 1
    places = [place for kind in (right & at_once, right & ~at_once, ~right) for place in spread(kind, _EACH_RIVER)]
    beliefs = subject.log_beliefs(part.images[places]).double().exp().numpy()
    samples = Samples(small(part.images[places]), part.atlas.truth[places].numpy(), beliefs, np.array(places))
    sentence = (
        "Each river is one image: from left to right the prior and then every stage, the height of a band being the probability "
        "that the stage gives to a class. The true class is green and at the bottom. Of each kind the images are evenly spread "
        "over the split."
    )
    found = tuple(trajectories(samples, subject.class_names, len(places)))
    return Chapter("beliefs", "How belief flows", (sentence,), rivers=found)
