"""The figures of an experiment: every metric against the axis, or accuracy against cost where there is no axis."""

from torchsid.experiments.analysis import Summary, metrics_of, summaries
from torchsid.experiments.grid import Cell, position
from torchsid.experiments.metrics import METRICS
from torchsid.experiments.plan import Axis
from torchsid.experiments.result import Result
from torchsid.report.figures.against import Line, Mark, Scale, against
from torchsid.report.figures.tradeoff import Tradeoff, tradeoff
from torchsid.report.svg import Drawing


def figures(result: Result) -> dict[str, Drawing]:
    """Return the drawings by name."""
    axis = result.experiment.axis
    if axis is None or len(result.grid.values) < 2:
        return {"tradeoff": _tradeoff(result)}
    found = summaries(result)
    shown = [name for name in metrics_of(result) if any(each.by_seed[name] for each in found.values())]
    return {name: _against(result, axis, found, name) for name in shown}


def _against(result: Result, axis: Axis, found: dict[Cell, Summary], metric: str) -> Drawing:
    scale = _scale(result, axis)
    lines = []
    for contender in result.experiment.contenders:
        beside = found.get(Cell(contender))
        own = ((value, found.get(Cell(contender, value))) for value in result.grid.values)
        intervals = ((value, summary.interval(metric)) for value, summary in own if summary)
        marks = [Mark(scale.places[value], interval) for value, interval in intervals if interval]
        level = beside.interval(metric) if beside else None
        lines.append(Line(contender, marks, level))
    return against(METRICS[metric].title, scale, lines)


def _scale(result: Result, axis: Axis) -> Scale:
    numbers = [position(result.experiment, value) for value in result.grid.values]
    known = [number for number in numbers if number is not None]
    return Scale.of(axis.name, result.grid.values, known if len(known) == len(numbers) else None, log=axis.log)


def _tradeoff(result: Result) -> Drawing:
    methods = []
    for cell, summary in summaries(result).items():
        runs = [run for job, run in result.runs.items() if job.cell == cell]
        kept = [value for run in runs if (value := run.manifest.get("kept_bytes")) is not None]
        seconds = [run.train_seconds for run in runs if run.train_seconds is not None]
        methods.append(
            Tradeoff(
                name=" ".join(filter(None, (cell.contender, cell.value))),
                accuracy=[value / 100 for value in summary.by_seed["accuracy"].values()],
                kept_bytes=max(kept, default=None),
                seconds=sum(seconds) / len(seconds) if seconds else None,
            )
        )
    return tradeoff(methods)
