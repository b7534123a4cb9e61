"""The files of an experiment: rows, a summary in JSON, figures, and the page with all that is needed to judge and repeat it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast, get_args

from torchsid.core.learner import Learner, Lock
from torchsid.errors import RunError
from torchsid.learners import LEARNERS
from torchsid.show.page import Code, Folded, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.points import Point, points
from torchsid.show.svg import Drawing
from torchsid.show.tables import MARKS, Cell, Table, duration, facts, number, table
from torchsid.study.experiments import grid
from torchsid.study.experiments.runner import COLUMNS, Results
from torchsid.study.experiments.steps import StepCost
from torchsid.study.figures import side_by_side, stage_figure, tradeoff_figures
from torchsid.study.files import write_results
from torchsid.study.frame import METRICS, Case, select
from torchsid.study.report.compare import number_table
from torchsid.study.report.page import provenance_table
from torchsid.study.statistics import bootstrap_interval

_LOOKS = 8  # that marks are easily told apart by
_NEEDED = {"pyarrow": "files", "matplotlib": "report", "jinja2": "report", "scipy": "report"}
_OF_ALL = ("torchsid", "versions", "hardware", "git", "data")  # what belongs to the experiment
_OF_SEEDS = "Held-out data, means with Student's 95 % intervals over seeds"
_OF_ONE = "Held-out data, one seed: accuracies have 95 % intervals over the samples, which say nothing of other seeds"
_RESULTS = (
    ". “Last” is the last epoch, “best” that with the best "
    "validation. Differences are paired over the seeds; p is of the paired t-test, corrected by Holm's method for all of a column."
)
_METHODS = (
    "A part is a layer or a stage. It waits for the forward pass of those before it (“forward”), of those behind it (“update”) or "
    "their backward pass. Losses are “local” where a run has proven that none reaches the parameters of another part."
)
_TUNING = (
    "Every contender was trained with the same rates on the first seed and keeps the one with the best validation after the last "
    "epoch, by accuracy or, of a language model, by nats; test data selected nothing. An ablation takes over the rate of what it "
    "changes."
)


def check_packages() -> None:
    """Raise before hours of training what would stop their result from being written: a RunError names the missing packages."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        extras = ",".join(sorted({_NEEDED[package] for package in missing}))
        raise RunError(f"experiments need {', '.join(missing)}: pip install 'torchsid[{extras}]'")


def write(found: Results, out: Path) -> dict[str, Path]:
    """Write the files of an experiment into `out`, and return them; see `write_results`."""
    drawn = figures(found)
    return write_results(out, found.rows(), COLUMNS, as_json(found), drawn, experiment_page(found, drawn))


def as_json(found: Results) -> dict[str, Any]:
    """Return question, tuning, means and differences, with all their digits."""
    runs = list(found.runs.values())
    manifest: Mapping[str, Any] = runs[0].manifest if runs else {}
    return {
        "command": found.command,
        "experiment": asdict(found.experiment),
        "no_data": {str(cell): reason for cell, reason in found.no_data.items()},
        "not_run": {str(cell): number for cell, number in found.not_run.items()},
        "diverged": {job.directory: reason for job, reason in found.diverged.items()},
        **{name: manifest.get(name) for name in ("versions", "hardware", "git")},
        "finished": max((str(run.manifest.get("finished")) for run in runs), default=None),
        "data": {run.manifest["data"]["name"]: run.fingerprint for run in runs},
        "tuning": [
            {
                **_named(job.cell),
                "rate": job.rate,
                **{name: scores and scores.last(name) for name in dict.fromkeys(("accuracy", "kl", found.judged_by))},
            }
            for job, scores in found.tried.items()
        ],
        "summary": [
            {**_named(cell), "rate": found.rates[cell], "metrics": {name: _summary(found, cell, name) for name in found.metrics}}
            for cell in found.cells
        ],
        "steps": [{**_named(cell), **asdict(cost)} for cell, cost in found.costs.items()],
        "differences": [asdict(each) for name in found.metrics for each in found.differences(name).values()],
        "units": {name: METRICS[name].title for name in found.metrics},
    }


def _named(cell: Case) -> dict[str, str]:
    return {"contender": cell.method, "point": cell.at}


def _summary(found: Results, cell: Case, name: str) -> dict[str, Any] | None:
    """Return a mean over the seeds with Student's interval, the bootstrap's beside it, and what it is made of."""
    row, by_seed = found.frame.mean(cell, name), found.frame.by_seed(name).get(cell, {})
    if row is None:
        return None
    bootstrap = bootstrap_interval(list(by_seed.values()))
    student = {"mean": row.value, "low": row.low, "high": row.high, "n": len(by_seed)}
    return {**student, "bootstrap_low": bootstrap.low, "bootstrap_high": bootstrap.high, "by_seed": by_seed}


def experiment_page(found: Results, drawings: Mapping[str, Drawing]) -> Page:
    """Return the page with the figures."""
    experiment, runs = found.experiment, list(found.runs.values())
    seconds = sum(METRICS["seconds"].of(run) or 0.0 for run in runs)
    several = len({run.seed for run in runs}) > 1
    parts = [f"Experiment {experiment.name}, {experiment.size}", f"recipe {experiment.recipe}"]
    parts += [f"{len(runs)} runs at the chosen rates, {duration(seconds)} of training"]
    directories = Code("", "\n".join(job.directory for job in found.runs))
    repeat: list[Part] = [
        Code("", found.command or f"torchsid experiment {experiment.name}"),
        Folded(f"{len(runs)} runs; torchsid train RUN/config.toml repeats one", [directories]),
        *([provenance_table(runs, _OF_ALL, apart=False)] if runs else []),
    ]
    return Page(
        title=experiment.question,
        subtitle=" · ".join(parts),
        notes=[f"The claim: {experiment.claim}"] if experiment.claim else [],
        sections=[
            Section("figures", "Figures", "", side_by_side(drawings.values())),
            Section("results", "Results", (_OF_SEEDS if several else _OF_ONE) + _RESULTS, tables(found, found.metrics)),
            *([Section("methods", "Methods", _METHODS, [methods])] if (methods := method_table(found)).rows else []),
            Section("tuning", "Learning rates", _TUNING, [tuning_table(found)]),
            Section("repeat", "To repeat it", "", repeat),
        ],
    )


def tables(found: Results, compared: Sequence[str] = ()) -> list[Table]:
    """Return the means, the differences in some metrics, what a step costs, if that was measured, and what limits the experiment.

    On a terminal the differences are in the metrics that are always shown.
    """
    costs = [cost_table(found)] if found.costs else []
    return [mean_table(found), difference_table(found, compared or found.shown), *costs, limits_table(found)]


def cost_table(found: Results) -> Table:
    """Return one row a cell: a training step in milliseconds, and as a multiple of the first contender's."""
    caption = f"A training step: medians of {found.experiment.step_rounds} rounds in turns, with quartiles; one thread"
    rows = [[*_begin(found, cell), *_cost(found.costs[cell])] for cell in found.cells if cell in found.costs]
    return table([*_heads(found), "Step, ms", "Over the first"], rows, caption)


def _cost(cost: StepCost) -> list[Cell]:
    parts = (cost.milliseconds, cost.over_first)
    return [Cell(number(middle), f"{number(low)}–{number(high)}") for middle, low, high in parts]


def method_table(found: Results) -> Table:
    """Return one row a contender: method, network, what a part of it waits for, how far its losses reach; none of two methods."""
    rows, experiment = [], found.experiment
    for job, run in {job.cell.method: (job, run) for job, run in found.runs.items()}.values():
        config = grid.configuration(experiment, job, "")
        method = cast("type[Learner]", LEARNERS.load(config.learner.name))
        waits = ", ".join(lock for lock in get_args(Lock) if lock in method.locks) or "nothing"
        proven = run.manifest.get("locality") or {}
        about = [config.learner.name, config.model.network, waits, "yes" if method.transports_weights else "no"]
        rows.append([job.cell.method, *about, str(proven.get("verdict", "–"))])
    heads = ["Contender", "Method", "Network", "A part waits for", "Uses weights of others", "Losses"]
    return facts(heads, rows if len({row[1] for row in rows}) > 2 else [])


def mean_table(found: Results) -> Table:
    """Return one row a cell: rate, number of seeds, every metric with its interval."""
    seeds = Counter(job.cell for job in found.runs)
    begin = {cell: [*_begin(found, cell), f"{found.rates[cell]:g}", str(seeds[cell])] for cell in found.cells}
    return number_table(found.frame, begin, [*_heads(found), "Rate", "Seeds"], found.metrics)


def difference_table(found: Results, metrics: Sequence[str]) -> Table:
    """Return one row a cell that has a reference: the differences in some metrics, marked where they are resolved."""
    differences = {METRICS[name].title: found.differences(name) for name in metrics}
    compared = [cell for cell in found.cells if any(cell in own for own in differences.values())]
    begin = {cell: [*_begin(found, cell), str(found.reference_of(cell))] for cell in compared}
    caption = f"Differences to another cell, paired over seeds; {MARKS}"
    return number_table(found.frame, begin, [*_heads(found), "Less"], (), caption, differences)


def tuning_table(found: Results) -> Table:
    """Return one row a tuned cell: the validation by which rates are chosen with every rate, the chosen one marked."""
    rows, name = [], found.judged_by
    metric = METRICS[name]
    for cell in found.cells:
        row: list[Cell | str] = _begin(found, cell)
        own = {job.rate: scores for job, scores in found.tried.items() if job.cell == cell}
        for rate in found.experiment.rates if own else ():
            scores, chosen = own.get(rate), "chosen" if found.rates[cell] == rate else ""
            row.append(Cell(metric.text(scores.last(name)) if scores else "diverged" if rate in own else "–", chosen))
        rows += [row] if own else []
    return table(
        [*_heads(found), *(f"{rate:g}" for rate in found.experiment.rates)], rows, f"Validation by learning rate: {metric.title}"
    )


def limits_table(found: Results) -> Table:
    """Return what limits the experiment: what was left out or diverged, rates at the edge of the grid, single seeds."""
    rates = found.experiment.rates
    edge = {min(rates), max(rates)} if len(rates) > 2 else set()
    tuned = {job.cell for job in found.tried}
    workers = {name: each.workers for name, each in found.experiment.contenders.items() if each.workers > 1}
    limits = {
        "left out, no data": [f"{cell}: {reason}" for cell, reason in found.no_data.items()],
        "left out, no time": [f"{cell}: {number} runs" for cell, number in found.not_run.items()],
        "diverged": [job.directory for job in found.diverged],
        "best rate at an end of the grid": [str(cell) for cell in found.cells if cell in tuned and found.rates[cell] in edge],
        "trained by several processes": [f"{name}: {number}" for name, number in workers.items()],
        "one seed, no interval over seeds": [str(cell) for cell in found.cells if sum(job.cell == cell for job in found.runs) == 1],
    }
    return facts(["Limit", "Where"], [[what, "; ".join(which) or "none"] for what, which in limits.items()])


def _heads(found: Results) -> list[str]:
    return ["Contender", found.experiment.axis.name] if found.experiment.axis else ["Contender"]


def _begin(found: Results, cell: Case) -> list[Cell | str]:
    return [cell.method, cell.at or "–"] if found.experiment.axis else [cell.method]


def figures(found: Results) -> dict[str, Drawing]:
    """Return the drawings by name: every metric against the axis, or what accuracy costs where there is none; and by stage."""
    if len(found.points) > 1:
        drawn = {name: each for name in found.metrics if (each := _against(found, name))}
    elif len(found.cells) > _LOOKS:
        drawn = {name: _in_lanes(found, name) for name in found.metrics}
    else:
        drawn = tradeoff_figures(found.frame, {str(cell): cell for cell in found.cells})
    return drawn | {f"{name}-by-stage": each for name in found.experiment.by_stage if (each := _by_stage(found, name))}


def _in_lanes(found: Results, name: str) -> Drawing:
    """Draw a metric of many contenders, one below the other."""
    metric = METRICS[name]
    rows = {str(cell): row.point(metric.factor) for cell in found.cells if (row := found.frame.mean(cell, name))}
    return points(f"{metric.title[0].upper()}{metric.title[1:]}", {cell: {"": point} for cell, point in rows.items()})


def _against(found: Results, name: str) -> Drawing | None:
    """Draw a metric along the axis, contender by contender; None where there are no numbers."""
    axis, metric = found.experiment.axis, METRICS[name]
    rows = {cell: row.point(metric.factor) for cell in found.cells if (row := found.frame.mean(cell, name))}
    if axis is None or not rows:
        return None
    title = f"{metric.title[0].upper()}{metric.title[1:]}"
    places = {point: grid.position(found.experiment, point) for point in found.points}
    numbers = {place: point for point, place in places.items() if place is not None}
    if len(numbers) < len(places):
        lanes: dict[str, dict[str, Point]] = {}
        for cell, point in rows.items():
            lanes.setdefault(cell.at or f"any {axis.name}", {})[cell.method] = point
        return points(title, lanes)
    lines = []
    for contender in found.experiment.contenders:
        own = {cell.at: point for cell, point in rows.items() if cell.method == contender}
        if own:
            lines.append(Line(contender, [places[at] or 0.0 for at in own if at], list(own.values())))
    logarithmic = "x" if axis.log and min(numbers) > 0 else ""
    return curves(title, lines, x=axis.name, logarithmic=logarithmic, ticks=numbers, size=(460, 300))


def _by_stage(found: Results, name: str) -> Drawing | None:
    """Draw a number after every stage, at the last point of the axis, on held-out data."""
    last, axis, means = found.points[-1] if found.points else "", found.experiment.axis, found.frame.means
    split = "test" if select(means, split="test") else "validation"
    rows = [row for row in select(means, metric=name, weights="last", split=split) if row.at in ("", last)]
    lines = {contender: select(rows, method=contender) for contender in found.experiment.contenders}
    return stage_figure(name, lines, f", {axis.name} = {last}" if axis and last else "")
