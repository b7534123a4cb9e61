"""The page of an experiment: question, figures, numbers, differences, tuning, and all that is needed to repeat it."""

from collections.abc import Sequence

from torchsid.show.page import Code, Folded, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import points
from torchsid.show.svg import Drawing
from torchsid.show.tables import MARKS, Cell, Table, facts, table
from torchsid.show.text import duration, percent
from torchsid.study.experiments import grid
from torchsid.study.experiments.analysis import SHOWN, Analysis
from torchsid.study.figures import capitalised, side_by_side, stage_figure, tradeoff_figures
from torchsid.study.frame import Row, select
from torchsid.study.metrics import METRICS
from torchsid.study.report.compare import difference_cell, mean_cell
from torchsid.study.report.provenance import shared_entries

_OF_ALL = ("torchsid", "versions", "hardware", "git", "data")  # what belongs to the experiment
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
        Folded(f"{len(found.runs)} runs; torchsid train RUN/config.toml repeats one", [Code("", names)]),
        *([shared_entries(list(found.runs.values()), _OF_ALL)] if found.runs else []),
    ]
    results = [mean_table(found), difference_table(found, found.metrics), limits_table(found)]
    return Page(
        title=experiment.question,
        subtitle=" · ".join(parts),
        notes=[f"The claim: {experiment.claim}"] if experiment.claim else [],
        sections=[
            Section("figures", "Figures", "", side_by_side(drawings.values())),
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
            rows.append([*_place(found, cell), str(found.reference_of(cell)), *map(difference_cell, own)])
    heads = [METRICS[name].title for name in metrics]
    return table([*_heads(found), "Less", *heads], rows, f"Differences to another cell, paired over seeds; {MARKS}")


def tuning_table(found: Analysis) -> Table:
    """Return one row a tuned cell: the validation accuracy with every rate, the chosen one marked."""
    rows = []
    for cell in found.cells:
        row: list[Cell | str] = [*_place(found, cell)]
        own = {job.rate: scores for job, scores in found.tried.items() if job.cell == cell}
        for rate in found.experiment.rates if own else ():
            scores, chosen = own.get(rate), "chosen" if found.results.rates[cell] == rate else ""
            row.append(Cell(percent(scores.last("accuracy")) if scores else "diverged" if rate in own else "–", chosen))
        rows += [row] if own else []
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
    return facts(["Limit", "Where"], rows)


def figures(found: Analysis) -> dict[str, Drawing]:
    """Return the drawings by name: every metric against the axis, or what accuracy costs where there is none; and by stage."""
    drawn = {}
    for name in found.metrics if len(found.points) > 1 else ():
        if any(found.mean(cell, name) for cell in found.cells):
            drawn[name] = _against(found, name)
    if len(found.points) < 2:
        drawn |= tradeoff_figures([str(cell) for cell in found.cells], lambda place, name: found.mean(found.cells[place], name))
    return drawn | {f"{name}-by-stage": each for name in found.experiment.by_stage if (each := _by_stage(found, name))}


def _against(found: Analysis, name: str) -> Drawing:
    axis, metric = found.experiment.axis, METRICS[name]
    assert axis is not None
    title = capitalised(metric.title)
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


def _by_stage(found: Analysis, name: str) -> Drawing | None:
    """Draw a number after every stage, at the last point of the axis, on held-out data."""
    last, axis = found.points[-1] if found.points else "", found.experiment.axis
    split = "test" if select(found.means, split="test") else "validation"
    rows = [row for row in select(found.means, metric=name, weights="last", split=split) if row.at in ("", last)]
    lines = {contender: select(rows, method=contender) for contender in found.experiment.contenders}
    return stage_figure(name, lines, f", {axis.name} = {last}" if axis and last else "")


def _heads(found: Analysis) -> list[str]:
    return ["Contender", found.experiment.axis.name] if found.experiment.axis else ["Contender"]


def _place(found: Analysis, cell: grid.Cell) -> list[str]:
    return [cell.contender, cell.point or "–"] if found.experiment.axis else [cell.contender]


def tables(found: Analysis) -> Sequence[Table]:
    """Return what the terminal shows."""
    return [mean_table(found), difference_table(found, SHOWN), limits_table(found)]
