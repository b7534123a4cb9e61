"""What several pages show: figures from rows of the frame, and single samples with what the stages believed about them."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from torchsid.show.page import Card, Figures, Part
from torchsid.show.plots.belief_paths import river
from torchsid.show.plots.curves import Line, by_stage, curves
from torchsid.show.plots.points import Mark, tradeoff
from torchsid.show.svg import Drawing
from torchsid.study.frame import BY_STAGE, METRICS, Case, Frame, Row
from torchsid.study.positions import Flat, settled, spread
from torchsid.tasks import Samples

Show = Callable[[Tensor], str]  # from one sample to HTML

RIVERS = (
    "A river goes from the prior on the left through every stage; a band is as high as the belief in a class. "
    "The true class is green and at the bottom, what is left between the bands went to others."
)
CALIBRATION = (
    "On the dashed diagonal confidence and accuracy agree; the area of a mark is the share of the samples in its bin. Bins of few "
    "samples lie off it by chance."
)


def side_by_side(drawings: Iterable[Drawing | None], *, narrow: bool = False) -> list[Part]:
    """Return the drawings that there are as a part of a page, or none."""
    drawn = [each for each in drawings if each]
    return [Figures(drawn, narrow)] if drawn else []


def stage_figure(name: str, lines: Mapping[str, Sequence[Row]], where: str = "") -> Drawing | None:
    """Draw a number of `BY_STAGE` after every stage, from rows `[L+1]` by name; None without any."""
    (title, factor), prior = BY_STAGE[name], name == "kl"  # that of the prior would only stretch the other axes
    drawn = {who: [row.point(factor) for row in rows[not prior :]] for who, rows in lines.items() if rows}
    return by_stage(title + where, drawn, prior=prior, bottom=None if name == "accuracy" else 0) if drawn else None


def tradeoff_figures(frame: Frame, places: Mapping[str, Case]) -> dict[str, Drawing]:
    """Draw accuracy against what was kept and against time, where two places at least have both; they are given by name."""
    found = {}
    for cost in ("kept", "seconds"):
        metric, reached = METRICS[cost], METRICS["accuracy"]
        both = [(name, frame.mean(place, cost), frame.mean(place, "accuracy")) for name, place in places.items()]
        marks = [Mark(name, metric.factor * x.value, y.point(reached.factor)) for name, x, y in both if x and y]
        if len(marks) > 1:
            found[cost] = tradeoff(f"Accuracy against {metric.label}", marks, x=metric.title, y=reached.title, higher=True)
    return found


def reliability(title: str, bins: Mapping[str, Mapping[str, Sequence[float]]], size: tuple[float, float]) -> Drawing | None:
    """Draw accuracy against confidence from the bins of `torchsid.training.evaluation.calibration` by name; None without any."""
    lines = []
    for name, each in bins.items():
        count = np.array(each["count"])
        x, y = (100 * np.array(each[key])[count > 0] for key in ("confidence", "accuracy"))
        lines.append(Line(name, x.tolist(), y.tolist(), sizes=(count[count > 0] / count.sum()).tolist()))
    return curves(title, lines, x="confidence, %", square=100, size=size) if lines else None


def card(sample: str, log_beliefs: Tensor, names: Sequence[str], outcome: int, title: str, lines: Sequence[str]) -> Card:
    """Return a sample, shown as HTML, with the river of the beliefs `[L+1, C]` about it."""
    return Card(sample, title, lines, river(log_beliefs.double().exp().numpy(), names, outcome))


def cards_of(flat: Flat, samples: Samples, show: Show, names: Sequence[str], lines: Iterable[Sequence[str]]) -> list[Card]:
    """Return the positions of some samples with the beliefs about them, and what is said of each after its name."""
    cards, several = [], bool((flat.position > 0).any())
    for place, said in enumerate(lines):
        truth, sample = int(flat.outcome[place]), int(flat.sample[place])
        called = [samples.names[sample]] if samples.names else []
        where = [f"position {int(flat.position[place])}"] if several else []
        lines_of = [*called, *said, *where]
        cards.append(card(show(samples.inputs[sample]), flat.log_beliefs[:, place], names, truth, f"true {names[truth]}", lines_of))
    return cards


def of_each_kind(answers: Tensor, truth: Tensor, names: Sequence[str], limit: int) -> dict[int, list[str]]:
    """Return places of all kinds of answers `[L, P]`, evenly spread, with what is to be said of them: up to `limit`."""
    right, first = answers[-1] == truth, settled(answers)
    kinds = {"decided at once": right & (first == 1), "changed its mind": right & (first > 1), "wrong": ~right}
    return {
        place: [kind, f"answer {names[int(answers[-1, place])]} from stage {int(first[place])}"]
        for kind, those in kinds.items()
        for place in spread(those, limit // len(kinds))
    }
