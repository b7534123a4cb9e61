"""What happened over the epochs: accuracy and loss while training."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from torchsid.show.methods import Method
from torchsid.show.svg import MUTED, Drawing, canvas, finish, series
from torchsid.show.wording import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measure = Callable[[Mapping[str, Any]], float | None]
Curve = dict[int, float]  # epoch -> value


def accuracy_curve(methods: Sequence[Method]) -> Drawing:
    """Draw the validation accuracy of the last stage; of the training data where there is no validation split."""
    validated = any(_curve(run.epochs, _validation_accuracy) for method in methods for run in method.runs)
    if not validated:
        return _draw(methods, _train_accuracy, "Training accuracy by epoch, %", 100)
    return _draw(methods, _validation_accuracy, "Validation accuracy by epoch, %", 100)


def loss_curve(methods: Sequence[Method]) -> Drawing:
    """Draw the training loss, which for a cascade is the sum of the stages' losses."""
    return _draw(methods, lambda event: event.get("train_loss"), "Training loss by epoch", 1)


def memorisation_curve(methods: Sequence[Method], noise: float) -> Drawing:
    """Draw the training accuracy against the share of training labels that are true, `1 - noise`."""
    return _draw(methods, _train_accuracy, "Accuracy on the noisy training labels by epoch, %", 100, limit=1 - noise)


def throughput_curve(methods: Sequence[Method]) -> Drawing:
    """Draw the images trained a second."""
    return _draw(methods, lambda event: event.get("samples_per_second"), "Images a second by epoch", 1, from_zero=True)


def memory_curve(methods: Sequence[Method]) -> Drawing:
    """Draw the memory of the process; a line that climbs is a leak."""
    return _draw(methods, lambda event: event.get("memory_mib"), "Memory by epoch, MiB", 1, from_zero=True)


def final_train_accuracy(method: Method) -> float | None:
    """Return the last epoch's training accuracy of the last stage, averaged over seeds; None when not recorded."""
    last = [value for run in method.runs if run.epochs and (value := _train_accuracy(run.epochs[-1])) is not None]
    return sum(last) / len(last) if last else None


def _validation_accuracy(event: Mapping[str, Any]) -> float | None:
    validation = event.get("validation")
    return validation["accuracy"][-1] if validation else None


def _train_accuracy(event: Mapping[str, Any]) -> float | None:
    accuracy = event.get("train_accuracy")
    return accuracy[-1] if accuracy else None


def _curve(epochs: Sequence[Mapping[str, Any]], measure: Measure) -> Curve:
    values = {event["epoch"]: measure(event) for event in epochs}
    return {epoch: value for epoch, value in values.items() if value is not None and isfinite(value)}


def _draw(
    methods: Sequence[Method],
    measure: Measure,
    title: str,
    scale: float,
    *,
    limit: float | None = None,
    from_zero: bool = False,
) -> Drawing:
    described = []
    with canvas(460, 270) as (figure, axes):
        longest = 1
        for index, method in enumerate(methods):
            curves = [curve for run in method.runs if (curve := _curve(run.epochs, measure))]
            if not curves:
                continue
            common = sorted(set.intersection(*(set(curve) for curve in curves)))
            mean = [scale * float(np.mean([curve[epoch] for curve in curves])) for epoch in common]
            colour, dashes = series(index)
            for curve in curves if len(curves) > 1 else ():
                axes.plot(list(curve), [scale * value for value in curve.values()], color=colour, alpha=0.35, lw=0.9)
            marker = "o" if len(common) == 1 else None
            axes.plot(common, mean, color=colour, ls=dashes, marker=marker)
            if common:
                longest = max(longest, common[-1])
                described.append(f"{method.name} ends at {number(mean[-1])} after epoch {common[-1]}")
        if limit is not None:
            axes.axhline(scale * limit, color=MUTED, lw=1.2, ls=(0, (4, 3)))
            label = f"true labels: {percent(limit, 1)}"
            axes.annotate(label, (1, scale * limit), xytext=(2, 4), textcoords="offset points", color=MUTED)
        axes.margins(x=0.02, y=0.08)
        if from_zero:
            axes.set_ylim(bottom=0)
        _epoch_axis(axes, longest)
        return finish(figure, title, "; ".join(described) or "Nothing recorded")


def _epoch_axis(axes: "Axes", longest: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=min(8, max(1, longest)), integer=True))
    axes.set_xlabel("epoch")
