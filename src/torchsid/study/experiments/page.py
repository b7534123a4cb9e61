"""The page of an experiment: question, figures, numbers, differences, tuning, and all that is needed to repeat it."""

from collections.abc import Iterator, Mapping, Sequence

from torchsid.show.page import Code, Figures, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import points
from torchsid.show.plots.stages import by_stage
from torchsid.show.plots.tradeoff import Mark, tradeoff
from torchsid.show.svg import Drawing
from torchsid.show.tables import MARKS, NOTHING, Cell, Table, resolved, table
from torchsid.show.text import duration, percent
from torchsid.study.experiments import grid
from torchsid.study.experiments.analysis import SHOWN, Analysis
from torchsid.study.frame import Difference, Row
from torchsid.study.metrics import BY_STAGE, METRICS
from torchsid.study.report.compare import mean_cell
from torchsid.study.report.provenance import shared_facts
from torchsid.study.runs import Scores

_OF_ALL = ("torchsid", "Version", "Hardware", "Git", "Data", "Samples", "SHA-256 of arrays")  # facts that belong to the experiment
_RESULTS = (
    "Held-out data, means with Student's 95 % intervals over seeds. “Last” is the last epoch, “best” that with the best validation "
    "accuracy. Differences are paired over the seeds; p is of the paired t-test, corrected by Holm's method for all of a column."
)
_TUNING = (
    "Every contender was trained with the same rates on the first seed and keeps the one with the best validation accuracy after "
    "the last epoch; test data selected nothing. An ablation takes over the rate of what it changes."
)


def experiment_page(found: Analysis, drawings: dict[str, Drawing]) -> Page:
    """Return the page with the figures."""
    experiment = found.experiment
    seconds = sum(run.train_seconds or 0.0 for run in found.runs.values())
    parts = [f"Experiment {experiment.name}, {experiment.size}", f"recipe {experiment.recipe}"]
    parts += [f"{len(found.runs)} runs at the chosen rates, {duration(seconds)} of training"]
    names = "\n".join(job.directory for job in found.runs)
    repeat: list[Part] = [
        Code("", found.results.command or f"torchsid experiment {experiment.name}"),
        Code(f"{len(found.runs)} runs; torchsid train RUN/config.toml repeats one", names, folded=True),
        *([shared_facts(list(found.runs.values()), _OF_ALL)] if found.runs else []),
    ]
    results = [mean_table(found), difference_table(found, found.metrics), limits_table(found)]
    return Page(
        title=experiment.question,
        subtitle=" · ".join(parts),
        notes=[f"The claim: {experiment.claim}"] if experiment.claim else [],
        sections=[
            Section("figures", "Figures", "", [Figures(list(drawings.values()))] if drawings else []),
            Section("results", "Results", _RESULTS, results),
            Section("tuning", "Learning rates", _TUNING, [tuning_table(found)]),
            Section("repeat", "To repeat it", "", repeat),
        ],
    )


def mean_table(found: Analysis) -> Table:
    """Return one row a cell: rate, number of seeds, every metric with its interval."""
    rows: list[list[Cell | str]] = [
        [
            *_place(found, cell),
            f"{found.results.rates[cell]:g}",
            str(sum(job.cell == cell for job in found.runs)),
            *(mean_cell(found.mean(cell, name)) for name in found.metrics),
        ]
        for cell in found.cells
    ]
    return table([*_heads(found), "Rate", "Seeds", *(METRICS[name].title for name in found.metrics)], rows)


def difference_table(found: Analysis, metrics: Sequence[str]) -> Table:
    """Return one row a cell that has a reference: the differences in some metrics, marked where they are resolved."""
    differences = {name: found.differences(name) for name in metrics}
    rows: list[list[Cell | str]] = []
    for cell in found.cells:
        own = [differences[name].get((cell.contender, cell.point)) for name in metrics]
        if any(own):
            rows.append([*_place(found, cell), str(found.reference_of(cell)), *map(_difference, own)])
    heads = [METRICS[name].title for name in metrics]
    return table([*_heads(found), "Less", *heads], rows, f"Differences to another cell, paired over seeds; {MARKS}")


def tuning_table(found: Analysis) -> Table:
    """Return one row a tuned cell: the validation accuracy with every rate, the chosen one marked."""
    rows: list[list[Cell | str]] = []
    for cell in found.cells:
        own = {job.rate: scores for job, scores in found.tried.items() if job.cell == cell}
        if own:
            rows.append([*_place(found, cell), *(_trial(found, cell, rate, own) for rate in found.experiment.rates)])
    return table([*_heads(found), *(f"{rate:g}" for rate in found.experiment.rates)], rows, "Validation accuracy by learning rate")


def limits_table(found: Analysis) -> Table:
    """Return what limits the experiment: what was left out or diverged, rates at the edge of the grid, single seeds."""
    results = found.results
    edge = {min(found.experiment.rates), max(found.experiment.rates)} if len(found.experiment.rates) > 2 else set()
    tuned = {job.cell for job in found.tried}
    workers = {name: each.workers for name, each in found.experiment.contenders.items() if each.workers > 1}
    limits = {
        "left out, no data": [f"{cell}: {reason}" for cell, reason in results.no_data.items()],
        "left out, no time": [f"{cell}: {number} runs" for cell, number in results.not_run.items()],
        "diverged": [job.directory for job in results.diverged],
        "best rate at an end of the grid": [str(cell) for cell in found.cells if cell in tuned and results.rates[cell] in edge],
        "trained by several processes": [f"{name}: {number}" for name, number in workers.items()],
        "one seed, no interval": [str(cell) for cell in found.cells if sum(job.cell == cell for job in found.runs) == 1],
    }
    rows = [[what, "; ".join(which) or "none"] for what, which in limits.items()]
    return table(["Limit", "Where"], rows)._replace(kind="facts")


def figures(found: Analysis) -> dict[str, Drawing]:
    """Return the drawings by name: every metric against the axis, or what accuracy costs where there is none; and by stage."""
    drawn = {}
    for name in found.metrics if len(found.points) > 1 else ():
        if any(found.mean(cell, name) for cell in found.cells):
            drawn[name] = _against(found, name)
    if len(found.points) < 2:
        drawn |= {name: each for name in ("kept", "seconds") if (each := _tradeoff(found, name))}
    return drawn | {f"{name}-by-stage": each for name in found.experiment.by_stage if (each := _by_stage(found, name))}


def _against(found: Analysis, name: str) -> Drawing:
    axis, metric = found.experiment.axis, METRICS[name]
    assert axis is not None
    title = f"{metric.title[0].upper()}{metric.title[1:]}"
    places = [grid.position(found.experiment, point) for point in found.points]
    numbers = [place for place in places if place is not None]
    if len(numbers) < len(places):
        lanes: dict[str, dict[str, Row]] = {}
        for cell in found.cells:
            if row := found.mean(cell, name):
                lanes.setdefault(cell.point or f"any {axis.name}", {})[cell.contender] = row
        shown = {lane: {who: row.point(metric.factor) for who, row in rows.items()} for lane, rows in lanes.items()}
        return points(title, shown)
    lines = []
    for contender in found.experiment.contenders:
        own = [row for cell in found.cells if cell.contender == contender and (row := found.mean(cell, name))]
        where = [grid.position(found.experiment, row.at) for row in own if row.at]
        lines.append(Line(contender, [place for place in where if place is not None], [row.point(metric.factor) for row in own]))
    ticks = dict(zip(numbers, found.points, strict=True))
    logarithmic = "x" if axis.log and min(numbers) > 0 else ""
    return curves(title, [line for line in lines if line.y], x=axis.name, logarithmic=logarithmic, ticks=ticks, size=(460, 300))


def _tradeoff(found: Analysis, name: str) -> Drawing | None:
    metric = METRICS[name]
    both = [(str(cell), found.mean(cell, name), found.mean(cell, "accuracy")) for cell in found.cells]
    marks = [Mark(who, metric.factor * cost.value, reached.point(100)) for who, cost, reached in both if cost and reached]
    title = f"Accuracy against {metric.label}"
    return tradeoff(title, marks, x=metric.title, y=METRICS["accuracy"].title, higher=True) if len(marks) > 1 else None


def _by_stage(found: Analysis, name: str) -> Drawing | None:
    """Draw a number after every stage, at the last point of the axis, on held-out data."""
    last, (label, factor) = found.points[-1] if found.points else "", BY_STAGE[name]
    where = f", {found.experiment.axis.name} = {last}" if found.experiment.axis and last else ""
    lines = {
        contender: [row.point(factor) for row in rows]
        for contender in found.experiment.contenders
        if (rows := list(_stages(found, contender, last, name)))
    }
    return by_stage(f"{label[0].upper()}{label[1:]}{where}", lines, prior=name == "kl") if lines else None


def _stages(found: Analysis, contender: str, point: str, name: str) -> Iterator[Row]:
    split = "test" if any(row.split == "test" for row in found.means) else "validation"
    for row in found.means:
        if (row.method, row.metric, row.weights, row.split) == (contender, name, "last", split) and row.at in ("", point):
            yield row


def _heads(found: Analysis) -> list[str]:
    return ["Contender", found.experiment.axis.name] if found.experiment.axis else ["Contender"]


def _place(found: Analysis, cell: grid.Cell) -> list[str]:
    return [cell.contender, cell.point or "–"] if found.experiment.axis else [cell.contender]


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return NOTHING
    metric, paired = METRICS[found.metric], found.paired
    if paired.low is None or paired.high is None:
        return Cell(metric.difference(paired.difference), "one seed")
    span = f"{metric.difference(paired.low)} to {metric.difference(paired.high)}"
    p = "" if found.corrected is None else f", p {'< 0.001' if found.corrected < 0.001 else f'= {found.corrected:.3f}'}"
    mark = resolved(paired.difference, paired.low, paired.high)
    return Cell(metric.difference(paired.difference), f"{span}{p}", mark)


def _trial(found: Analysis, cell: grid.Cell, rate: float, own: Mapping[float, Scores | None]) -> Cell:
    if rate not in own:
        return NOTHING
    scores = own[rate]
    return Cell(percent(scores.last("accuracy")) if scores else "diverged", "chosen" if found.results.rates[cell] == rate else "")


def tables(found: Analysis) -> Sequence[Table]:
    """Return what the terminal shows."""
    return [mean_table(found), difference_table(found, SHOWN), limits_table(found)]
