"""The figures of an experiment: every metric against the axis, or accuracy against cost where there is no axis; and by stage."""

from collections.abc import Iterator, Sequence
from math import isfinite

from torchsid.show.figures.against import Line, Mark, Scale, against
from torchsid.show.figures.tradeoff import Tradeoff, tradeoff
from torchsid.show.svg import Drawing
from torchsid.study.experiments.analysis import Summary, metrics_of, summaries
from torchsid.study.experiments.experiment import Axis
from torchsid.study.experiments.grid import Cell, position
from torchsid.study.experiments.metrics import BY_STAGE, METRICS
from torchsid.study.experiments.result import Result
from torchsid.study.statistics import mean_interval

_FEW = 12  # stages that are all drawn


def figures(result: Result) -> dict[str, Drawing]:
    """Return the drawings by name."""
    axis = result.experiment.axis
    by_stage = {f"{name}-by-stage": _by_stage(result, name) for name in result.experiment.by_stage}
    if axis is None or len(result.grid.values) < 2:
        return {"tradeoff": _tradeoff(result), **by_stage}
    found = summaries(result)
    shown = [name for name in metrics_of(result) if any(each.by_seed[name] for each in found.values())]
    return {name: _against(result, axis, found, name) for name in shown} | by_stage


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


def _by_stage(result: Result, name: str) -> Drawing:
    """Draw a number after every stage, at the last value of the axis, on held-out images; one stage alone is a level."""
    value = result.grid.values[-1] if result.grid.values else ""
    label, factor = BY_STAGE[name]
    curves = {}
    for contender in result.experiment.contenders:
        own = (Cell(contender, value), Cell(contender))
        splits = [run.last.held_out for job, run in result.runs.items() if job.cell in own and run.last]
        curves[contender] = [[factor * each for each in getattr(split, name)[1:]] for split in splits if split]
    depth = max((len(curve) for seeds in curves.values() for curve in seeds), default=1)
    stages = list(_some_of(depth))
    scale = Scale.of("stage", [str(stage) for stage in stages], stages, log=depth > _FEW)
    lines = [_stages_of(contender, seeds, scale) for contender, seeds in curves.items()]
    where = f", at {result.experiment.axis.name} = {value}" if result.experiment.axis and value else ""
    return against(label, scale, lines, where=where)


def _stages_of(contender: str, seeds: Sequence[Sequence[float]], scale: Scale) -> Line:
    """Return the line of a contender, one curve a seed: means with intervals."""
    columns = [[value for value in column if isfinite(value)] for column in zip(*seeds, strict=True)]
    if len(columns) == 1 and columns[0]:
        return Line(contender, [], mean_interval(columns[0]))
    shown = ((place, columns[int(stage) - 1]) for stage, place in scale.places.items() if int(stage) <= len(columns))
    return Line(contender, [Mark(place, mean_interval(column)) for place, column in shown if column])


def _some_of(depth: int) -> Iterator[int]:
    """Yield every stage of a few, and else 1, 2, 4, … and the last one."""
    if depth <= _FEW:
        yield from range(1, depth + 1)
        return
    power = 1
    while power < depth:
        yield power
        power *= 2
    yield depth


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
                name=" ".join(filter(None, (cell.contender, cell.point))),
                accuracy=[value / 100 for value in summary.by_seed["accuracy"].values()],
                kept_bytes=max(kept, default=None),
                seconds=sum(seconds) / len(seconds) if seconds else None,
            )
        )
    return tradeoff(methods)
