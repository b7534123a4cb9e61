"""Figures that several pages show, from rows of the frame."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from torchsid.show.page import Figures, Part
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.stages import by_stage
from torchsid.show.plots.tradeoff import Mark, tradeoff
from torchsid.show.svg import Drawing
from torchsid.study.frame import Row
from torchsid.study.metrics import BY_STAGE, METRICS


def side_by_side(drawings: Iterable[Drawing | None], *, narrow: bool = False) -> list[Part]:
    """Return the drawings that there are as a part of a page, or none."""
    drawn = [each for each in drawings if each]
    return [Figures(drawn, narrow)] if drawn else []


def capitalised(text: str) -> str:
    """Return a label as a title."""
    return f"{text[0].upper()}{text[1:]}"


def stage_figure(name: str, lines: Mapping[str, Sequence[Row]], where: str = "") -> Drawing | None:
    """Draw a number of `BY_STAGE` after every stage, from rows `[L+1]` by name; None without any."""
    label, factor = BY_STAGE[name]
    drawn = {who: [row.point(factor) for row in rows] for who, rows in lines.items() if rows}
    bottom = None if name == "accuracy" else 0
    return by_stage(capitalised(label) + where, drawn, prior=name == "kl", bottom=bottom) if drawn else None


def tradeoff_figures(names: Sequence[str], mean: Callable[[int, str], Row | None]) -> dict[str, Drawing]:
    """Draw accuracy against what was kept and against time, where two at least have both.

    Args:
        names: of what is compared.
        mean: the mean of a metric for one of them.
    """
    found = {}
    for cost in ("kept", "seconds"):
        metric, reached = METRICS[cost], METRICS["accuracy"]
        both = [(name, mean(place, cost), mean(place, "accuracy")) for place, name in enumerate(names)]
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
    return curves(title, lines, x="confidence, %", diagonal=True, bottom=0, size=size) if lines else None
