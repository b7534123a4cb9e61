"""The page of an experiment: question, verdict, table, figures, tuning, and all that is needed to repeat it."""

from collections.abc import Iterator, Mapping

from torchsid.__about__ import __version__
from torchsid.show.page import environment
from torchsid.show.provenance import Fact, facts
from torchsid.show.svg import Drawing
from torchsid.show.wording import NOTHING, Cell, Table, duration, listing, percent
from torchsid.study.experiments.analysis import Contrast, Summary, contrasts, metrics_of, summaries
from torchsid.study.experiments.findings import notes, signed, verdict
from torchsid.study.experiments.metrics import METRICS, Metric
from torchsid.study.experiments.result import Result
from torchsid.study.statistics import Interval

_OF_ALL = ("torchsid", "Version", "Hardware", "Git", "Data", "Images", "SHA-256")  # facts that belong to the experiment
_NOT_OF_ALL = ("SHA-256 of config.toml",)


def render(result: Result, drawings: Mapping[str, Drawing]) -> str:
    """Return the page, with the figures, as one self-contained HTML text: no script, nothing loaded from anywhere.

    Raises:
        RunError: Jinja is missing.
    """
    experiment, sentences = result.experiment, verdict(result)
    return (
        environment("page", "torchsid.study.experiments")
        .get_template("experiment.html.j2")
        .render(
            version=__version__,
            title=experiment.question,
            subtitle=_subtitle(result),
            claim=experiment.claim,
            headline=sentences[0],
            sentences=sentences[1:],
            notes=notes(result),
            summary=summary_table(result),
            drawings=list(drawings.values()),
            tuning=tuning_table(result),
            command=result.command or f"torchsid experiment {experiment.name}",
            runs=[job.directory for job in result.runs],
            facts=list(_facts(result)),
        )
    )


def _subtitle(result: Result) -> str:
    experiment = result.experiment
    seconds = sum(run.train_seconds or 0.0 for run in result.runs.values())
    parts = [
        f"Experiment {experiment.name}, {experiment.size}",
        f"recipe {experiment.recipe}",
        f"seeds {listing(result.grid.seeds)}",
        f"{len(result.runs)} runs at the chosen rates, {duration(seconds)} of training",
    ]
    return " · ".join(parts)


def summary_table(result: Result) -> Table:
    """Return one row a cell: rate, every metric with its interval, and the difference to its reference."""
    metrics, axis = metrics_of(result), result.experiment.axis
    differences = {each.cell: each for each in contrasts(result)}
    best = {each.cell: each for each in contrasts(result, "best")}
    columns = ["Contender", *([axis.name] if axis else []), "Rate", *(METRICS[name].title for name in metrics)]
    columns += ["Difference, last", "p, corrected", "Cohen's d", "Difference, best"]
    rows = []
    for cell, summary in summaries(result).items():
        contrast = differences.get(cell)
        rows.append(
            (
                Cell(cell.contender, _seeds(summary)),
                *([Cell(cell.point or "–")] if axis else []),
                Cell(f"{summary.rate:g}") if summary.rate else NOTHING,
                *(_interval(METRICS[name], summary.interval(name)) for name in metrics),
                _difference(contrast),
                Cell(_p(contrast.corrected)) if contrast and contrast.corrected is not None else NOTHING,
                Cell(signed(contrast.effect)) if contrast and contrast.effect is not None else NOTHING,
                _difference(best.get(cell)),
            )
        )
    return Table(tuple(columns), tuple(rows))


def tuning_table(result: Result) -> Table:
    """Return one row a tuned cell: the validation accuracy with every rate, the chosen one marked."""
    rates = result.experiment.rates
    axis = result.experiment.axis
    accuracy = {(trial.job.cell, trial.job.rate): trial.validation for trial in result.trials}
    rows = []
    for cell in dict.fromkeys(trial.job.cell for trial in result.trials):
        tried = ((rate, accuracy[cell, rate]) for rate in rates)
        marked = (
            Cell("diverged" if value is None else percent(value), "chosen" if result.rates.get(cell) == rate else "")
            for rate, value in tried
        )
        rows.append((Cell(cell.contender), *([Cell(cell.point or "–")] if axis else []), *marked))
    return Table(("Contender", *([axis.name] if axis else []), *(f"{rate:g}" for rate in rates)), tuple(rows))


def _seeds(summary: Summary) -> str:
    diverged = f", {len(summary.diverged)} diverged" if summary.diverged else ""
    return f"n = {len(summary.by_seed['accuracy'])}{diverged}"


def _interval(metric: Metric, interval: Interval | None) -> Cell:
    if interval is None:
        return NOTHING
    if interval.low is None or interval.high is None:
        return Cell(metric.text(interval.mean), "one seed")
    return Cell(metric.text(interval.mean), f"{metric.text(interval.low)} to {metric.text(interval.high)}")


def _difference(contrast: Contrast | None) -> Cell:
    if contrast is None:
        return NOTHING
    paired = contrast.paired
    if paired.low is None or paired.high is None:
        return Cell(signed(paired.difference), "no interval")
    span = f"{signed(paired.low)} to {signed(paired.high)}"
    return Cell(signed(paired.difference), span if paired.resolved else f"{span}: none found")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _facts(result: Result) -> Iterator[Fact]:
    """Yield what holds for the whole experiment; where runs differ, in their data for example, every value once."""
    for fact in facts(tuple(result.runs.values())):
        if fact.name.startswith(_OF_ALL) and fact.name not in _NOT_OF_ALL:
            yield Fact(fact.name, (listing(list(dict.fromkeys(fact.values))),))
