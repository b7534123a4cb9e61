"""What an experiment found, in sentences: which differences are there, and where none was found."""

from collections.abc import Iterable, Iterator, Sequence

from torchsid.show.wording import counted, listing
from torchsid.study.experiments.analysis import SHOWN, Contrast, contrasts, metrics_of
from torchsid.study.experiments.experiment import Experiment
from torchsid.study.experiments.metrics import METRICS
from torchsid.study.experiments.result import Result

SIGNIFICANT = 0.05
_AGAINST = " against "
_NAMED = 6  # cells that one sentence can name


def verdict(result: Result) -> list[str]:
    """Return one sentence for every contender that was compared, about its accuracy after the last epoch.

    A difference counts as found when its 95 % interval excludes zero; one that does not outlive the correction for the number of
    comparisons says so. Then follow where the best epoch leads to another conclusion, and what was found in the other metrics.
    """
    found = contrasts(result)
    if not found:
        return ["Nothing to compare: no two cells have a seed in common."]
    groups: dict[tuple[str, bool], list[Contrast]] = {}
    for each in found:
        groups.setdefault((each.cell.contender, each.cell.contender == each.reference.contender), []).append(each)
    sentences = [_sentence(result.experiment, group) for group in groups.values()]
    return [*sentences, *_otherwise_at_best(result, found), *_beyond_accuracy(result)]


def _sentence(experiment: Experiment, group: Sequence[Contrast]) -> str:
    head = group[0]
    if len(group) == 1 and not (head.cell.contender == head.reference.contender and head.cell.point):
        return f"{_subject(experiment, head)}: {_one(head)}."
    return f"{_subject(experiment, head)}: {'; '.join(_parts(experiment, group))}."


def _subject(experiment: Experiment, contrast: Contrast) -> str:
    """Return what is compared with what, `SID against BP`, without the value of the axis that both have."""
    cell, reference = contrast.cell, contrast.reference
    against = _at(experiment, reference.point) if cell.contender == reference.contender else reference.contender
    if not cell.point and reference.point:  # beside the axis, and compared with one value of it
        against += f" at {_at(experiment, reference.point)}"
    return f"{cell.contender}{_AGAINST}{against}"


def _otherwise_at_best(result: Result, found: Sequence[Contrast]) -> Iterator[str]:
    """Yield a sentence on the comparisons in which last and best epoch disagree."""
    best = {each.cell: each for each in contrasts(result, "best")}
    pairs = ((each, best[each.cell]) for each in found if each.cell in best)
    said = [(last, f"{_word(at_best)} instead of {_word(last)}") for last, at_best in pairs if _word(last) != _word(at_best)]
    if said:
        yield f"The best epoch by validation leads to another conclusion: {_gathered(result.experiment, said)}."


def _beyond_accuracy(result: Result) -> Iterator[str]:
    """Yield a sentence for every other metric with differences that outlive the correction."""
    for metric in (name for name in metrics_of(result) if name not in SHOWN):
        sure = [each for each in contrasts(result, metric) if each.paired.resolved and not _doubt(each)]
        if sure:
            label = METRICS[metric].label
            told = _gathered(result.experiment, [(each, _word(each)) for each in sure])
            yield f"{label[0].upper()}{label[1:]}, after correction: {told}."


def _gathered(experiment: Experiment, said: Iterable[tuple[Contrast, str]]) -> str:
    """Return what is said of comparisons, those with the same reference, words and places together."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for contrast, words in said:
        subject, _, reference = _subject(experiment, contrast).partition(_AGAINST)
        places.setdefault((subject, reference, words), []).append(contrast.cell.point)
    subjects: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (subject, reference, words), values in places.items():
        subjects.setdefault((reference, words, tuple(values)), []).append(subject)
    return "; ".join(
        f"{listing(these)}{_AGAINST}{reference}, {words}" + (f" at {_prefix(experiment)}{listing(values)}" if any(values) else "")
        for (reference, words, values), these in subjects.items()
    )


def _word(contrast: Contrast) -> str:
    paired = contrast.paired
    return "no difference found" if not paired.resolved else "higher" if paired.difference > 0 else "lower"


def _one(contrast: Contrast) -> str:
    """Return a single difference with everything that belongs to it."""
    paired = contrast.paired
    if paired.low is None or paired.high is None:
        return f"{signed(paired.difference)} points with one seed, which has no interval"
    span = f"95\u00a0% interval {signed(paired.low)} to {signed(paired.high)}, {counted(paired.n, 'seed')}"
    if not paired.resolved:
        return f"no difference found ({signed(paired.difference)} points, {span})"
    return f"{abs(paired.difference):.2f} points {_word(contrast)} ({span}{_doubt(contrast)})"


def _parts(experiment: Experiment, group: Sequence[Contrast]) -> list[str]:
    """Return where along the axis the cell is higher, lower, and not known to differ."""
    single = [each for each in group if each.paired.low is None]
    higher = [each for each in group if each.paired.resolved and each.paired.difference > 0]
    lower = [each for each in group if each.paired.resolved and each.paired.difference < 0]
    none = [each for each in group if not each.paired.resolved and each not in single]
    kinds = (("higher", higher), ("lower", lower), ("no interval, one seed,", single))
    parts = [f"{word} at {_places(experiment, these)}" for word, these in kinds if these]
    if none:
        places = _at(experiment, none[0].cell.point), *(each.cell.point for each in none[1:])
        everywhere = len(none) == len(group) > 1
        parts.append("no difference found " + ("anywhere: " if everywhere else "at ") + listing(list(places)))
    return parts


def _places(experiment: Experiment, group: Sequence[Contrast]) -> str:
    texts = [f"{each.cell.point} ({signed(each.paired.difference)}{_doubt(each)})" for each in group]
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
        many = f"{len(edges)} of {len(result.rates)} cells (see the table of tuning)"
        these = listing(edges) if len(edges) <= _NAMED else many
        found.append(f"The best learning rate lies at an end of the grid, and a better one may lie beyond, for {these}.")
    if spread := [f"{name} ({each.workers})" for name, each in result.experiment.contenders.items() if each.workers > 1]:
        found.append(f"Trained under torchrun, by several processes: {listing(spread)}.")
    if len(result.grid.seeds) == 1:
        found.append("One seed: no interval says how much of a difference is luck.")
    return found


def at_the_edge(result: Result) -> list[str]:
    """Return the contenders whose best rate is the smallest or the largest one tried, where more than two were."""
    rates = sorted(result.experiment.rates)
    edge = {rates[0], rates[-1]} if len(rates) > 2 else set()
    tuned = {trial.job.cell for trial in result.trials}
    cells = [cell for cell, rate in result.rates.items() if cell in tuned and rate in edge]
    return [f"{cell.contender}{f' at {_at(result.experiment, cell.point)}' if cell.point else ''}" for cell in cells]
