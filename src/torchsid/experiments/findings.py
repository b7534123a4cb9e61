"""What an experiment found, in sentences: which differences are there, and where none was found."""

from collections.abc import Sequence

from torchsid.experiments.analysis import Contrast, contrasts
from torchsid.experiments.plan import Experiment
from torchsid.experiments.result import Result
from torchsid.report.wording import counted, listing

SIGNIFICANT = 0.05


def verdict(result: Result, metric: str = "accuracy") -> list[str]:
    """Return one sentence for every contender that was compared, about its accuracy after the last epoch.

    A difference counts as found when its 95 % interval excludes zero; one that does not outlive the correction for the number of
    comparisons says so.
    """
    found = contrasts(result, metric)
    if not found:
        return ["Nothing to compare: no two cells have a seed in common."]
    groups: dict[tuple[str, bool], list[Contrast]] = {}
    for each in found:
        groups.setdefault((each.cell.contender, each.cell.contender == each.reference.contender), []).append(each)
    return [_sentence(result.experiment, group) for group in groups.values()]


def _sentence(experiment: Experiment, group: Sequence[Contrast]) -> str:
    head = group[0]
    along = head.cell.contender == head.reference.contender
    against = _at(experiment, head.reference.value) if along else head.reference.contender
    if not head.cell.value and head.reference.value:  # beside the axis, and compared with one value of it
        against += f" at {_at(experiment, head.reference.value)}"
    subject = f"{head.cell.contender} against {against}: "
    if len(group) == 1 and (not along or not head.cell.value):
        return f"{subject}{_one(head)}."
    return f"{subject}{'; '.join(_parts(experiment, group))}."


def _one(contrast: Contrast) -> str:
    """Return a single difference with everything that belongs to it."""
    paired = contrast.paired
    if paired.low is None or paired.high is None:
        return f"{signed(paired.difference)} points with one seed, which has no interval"
    span = f"95\u00a0% interval {signed(paired.low)} to {signed(paired.high)}, {counted(paired.n, 'seed')}"
    if not paired.resolved:
        return f"no difference found ({signed(paired.difference)} points, {span})"
    word = "higher" if paired.difference > 0 else "lower"
    return f"{abs(paired.difference):.2f} points {word} ({span}{_doubt(contrast)})"


def _parts(experiment: Experiment, group: Sequence[Contrast]) -> list[str]:
    """Return where along the axis the cell is higher, lower, and not known to differ."""
    single = [each for each in group if each.paired.low is None]
    higher = [each for each in group if each.paired.resolved and each.paired.difference > 0]
    lower = [each for each in group if each.paired.resolved and each.paired.difference < 0]
    none = [each for each in group if not each.paired.resolved and each not in single]
    kinds = (("higher", higher), ("lower", lower), ("no interval, one seed,", single))
    parts = [f"{word} at {_places(experiment, these)}" for word, these in kinds if these]
    if none:
        places = _at(experiment, none[0].cell.value), *(each.cell.value for each in none[1:])
        everywhere = len(none) == len(group) > 1
        parts.append("no difference found " + ("anywhere: " if everywhere else "at ") + listing(list(places)))
    return parts


def _places(experiment: Experiment, group: Sequence[Contrast]) -> str:
    texts = [f"{each.cell.value} ({signed(each.paired.difference)}{_doubt(each)})" for each in group]
    texts[0] = f"{_prefix(experiment)}{texts[0]}"
    return listing(texts)


def _at(experiment: Experiment, value: str) -> str:
    return f"{_prefix(experiment)}{value}"


def _prefix(experiment: Experiment) -> str:
    """Return `α = ` for values of a setting; the names of points stand for themselves."""
    return f"{experiment.axis.name} = " if experiment.axis and experiment.axis.setting else ""


def _doubt(contrast: Contrast) -> str:
    corrected = contrast.corrected
    return "" if corrected is None or corrected < SIGNIFICANT else f", p = {corrected:.2f} after correction"


def signed(value: float) -> str:
    """Return a difference with its sign, `+1.39`, already in percentage points.

    >>> signed(-0.5)
    '−0.50'
    """
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0 turns −0.0 into 0.0


def notes(result: Result) -> list[str]:
    """Return what limits the experiment: what was dropped, what diverged, rates at the edge of the grid, single seeds."""
    found = [f"Left out: {what}." for what in result.missing]
    if result.dropped:
        found.append(f"The budget of time left out {listing(result.dropped)}.")
    if result.failed:
        found.append(f"{counted(len(result.failed), 'run')} diverged: {listing([job.directory for job in result.failed])}.")
    if edges := at_the_edge(result):
        found.append(f"The best learning rate lies at an end of the grid, and a better one may lie beyond, for {listing(edges)}.")
    if len(result.grid.seeds) == 1:
        found.append("One seed: no interval says how much of a difference is luck.")
    return found


def at_the_edge(result: Result) -> list[str]:
    """Return the contenders whose best rate is the smallest or the largest one tried, where more than two were."""
    rates = sorted(result.experiment.rates)
    edge = {rates[0], rates[-1]} if len(rates) > 2 else set()
    tuned = {trial.job.cell for trial in result.trials}
    cells = [cell for cell, rate in result.rates.items() if cell in tuned and rate in edge]
    return [f"{cell.contender}{f' at {_at(result.experiment, cell.value)}' if cell.value else ''}" for cell in cells]
