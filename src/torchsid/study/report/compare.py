"""Methods side by side: runs gathered into methods, every number with its interval, every difference paired."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.show.tables import MARKS, NOTHING, Cell, Table, resolved, table
from torchsid.study.frame import METRICS, Case, Difference, Frame, Row, rows_of, select
from torchsid.study.runs import RunRecord, load_run
from torchsid.study.statistics import paired_difference
from torchsid.tasks import Floor
from torchsid.training.config import dotted

_SCORES = {
    "return": ("best-return", "return", "return-area", "mae", "coverage", "kl"),
    "mae": ("best-mae", "mae", "rmse", "r2", "coverage", "kl"),
    "accuracy": ("best", "accuracy", "kl", "ece"),
}
"""By what the runs are judged by."""
_COSTS = ("seconds", "throughput", "memory", "kept")
_COMPARED = ("accuracy", "best", "mae", "best-mae", "return", "best-return")
_SIDE_EFFECTS = ("distributed.", "watch.")  # sections that a repetition may change without being another method
_NOT_THE_METHOD = {"recipe", "label", "training.seed", "training.checkpoint_every_seconds", "training.threads", "training.loggers"}
_REMARKS = 5  # on the data, which the page shows
_FEW = 3  # settings that a name can tell


@dataclass(frozen=True)
class MethodRuns:
    """One method and its runs, ordered by seed."""

    name: str
    runs: tuple[RunRecord, ...]

    @property
    def example(self) -> RunRecord:
        """The run that stands for the method where seeds cannot be averaged: of those evaluated, that of the lowest seed."""
        return next((run for run in self.runs if run.scores), self.runs[0])


@dataclass(frozen=True)
class Comparison:
    """Methods in the order given, the first being the reference; `notes` says what limits the comparison."""

    methods: tuple[MethodRuns, ...]
    frame: Frame  # every number of every run
    differences: tuple[Difference, ...]  # in accuracy, to the first method
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs, method by method."""
        return tuple(run for method in self.methods for run in method.runs)

    def by_stage(self, method: MethodRuns, metric: str, weights: str = "") -> list[Row]:
        """Return held-out numbers `[L+1]`, by default of the weights to quote; empty without an evaluation."""
        run = method.example
        which = "last" if weights == "last" else run.chosen
        split = scores.split if (scores := run.held_out(which)) else "none"
        return select(self.frame.means, method=method.name, metric=metric, weights=which, split=split)


def compare(runs: Sequence[str | Path | RunRecord], *, intervals: bool = True) -> Comparison:
    """Compare runs, given as directories or as records, at least one; without `intervals` SciPy is not needed.

    Runs that differ in nothing but the seed become one method: mean and 95 % interval over the seeds. With one seed the
    interval of the accuracy is Wilson's over the samples. A difference to the first method is paired over the seeds when
    both have at least two in common, and over the samples of the same test set otherwise.

    Raises:
        RunError: No runs are given, or one cannot be read.
        MissingPackageError: SciPy is missing.
    """
    if not runs:
        raise RunError("no runs given; name one run directory at least")
    records = [run if isinstance(run, RunRecord) else load_run(run) for run in runs]
    methods = gather(list({record.path: record for record in records}.values()))
    rows = (row for method in methods for run in method.runs for row in rows_of(run, method.name))
    frame = Frame.of(rows, intervals=intervals)
    found = tuple(_differences(methods, frame)) if intervals else ()
    return Comparison(tuple(methods), frame, found, tuple(_notes(methods)))


def gather(runs: Sequence[RunRecord]) -> list[MethodRuns]:
    """Group runs that differ in nothing but their seed; the order is that of each method's first run.

    Methods that share a label are told apart by the few settings in which they differ, as in `SID (alpha = 0.7)`, or by their
    recipes; runs that repeat a method and its seed by the name of their directory.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.label, repr(sorted(_settings(run.config).items()))), []).append(run)
    parts: list[list[RunRecord]] = []
    for members in groups.values():
        repeated = len({run.seed for run in members}) < len(members)
        parts += [[run] for run in members] if repeated else [sorted(members, key=lambda run: run.seed)]
    return [MethodRuns(_name(part[0], [other[0] for other in parts]), tuple(part)) for part in parts]


def _name(run: RunRecord, examples: Sequence[RunRecord]) -> str:
    rivals = [other for other in examples if other.label == run.label]
    if len(rivals) == 1:
        return run.label
    settings = [_settings(rival.config) for rival in rivals]
    mine, recipe = _settings(run.config), run.manifest["recipe"]
    differing = [key for key in sorted(mine) if any(other.get(key) != mine[key] for other in settings)]
    if settings.count(mine) == 1 and 0 < len(differing) <= _FEW:
        detail = ", ".join(f"{key.rpartition('.')[2]} = {mine[key]}" for key in differing)
    else:
        detail = recipe if sum(rival.manifest["recipe"] == recipe for rival in rivals) == 1 else run.name
    return f"{run.label} ({detail})"


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{dotted name: value}` of the settings that make up the method."""
    return {key: value for key, value in dotted(config) if not key.startswith(_SIDE_EFFECTS) and key not in _NOT_THE_METHOD}


def _differences(methods: Sequence[MethodRuns], frame: Frame) -> Iterator[Difference]:
    first, *others = methods
    for metric in _COMPARED:
        over_seeds = frame.differences({Case(method.name): Case(first.name) for method in others}, metric)
        for method in others:
            found = over_seeds.get(Case(method.name))
            several = found if found and found.paired.n > 1 else None
            if each := several or (_over_samples(method, first, metric) if METRICS[metric].share else None):
                yield each


def _over_samples(method: MethodRuns, reference: MethodRuns, metric: str) -> Difference | None:
    """Return the difference of one run each on the same held-out samples; None where they are others."""
    theirs = {run.seed: run for run in reference.runs}
    ours = next((run for run in method.runs if run.seed in theirs and run.scores), method.example)
    yours = theirs.get(ours.seed, reference.example)
    if _tested_on(ours) != _tested_on(yours) or (metric == "best" and "last" in (ours.chosen, yours.chosen)):
        return None
    a, b = (run.held_out("best" if metric == "best" else "last") for run in (ours, yours))
    if a is None or b is None or a.correct is None or b.correct is None or a.correct.size != b.correct.size:
        return None
    paired = paired_difference(a.correct, b.correct)
    return Difference(Case(method.name), Case(reference.name), metric, paired, over=f"{a.split} samples")


def _tested_on(run: RunRecord) -> object:
    """Return what tells its test samples apart; the seed cuts training and validation parts of its own."""
    whole, data = run.fingerprint, run.manifest["data"]
    return data["name"], whole.get("arrays/test", whole) if data.get("test") else whole


def _notes(methods: Sequence[MethodRuns]) -> Iterator[str]:
    runs = [run for method in methods for run in method.runs]
    if any(not run.scores for run in runs):
        yield "Some runs have not been evaluated: they are not in the scores."
    if any(_tested_on(run) != _tested_on(runs[0]) for run in runs):
        yield "The runs do not share their data: their accuracies measure different tasks."
    if any(run.manifest["hardware"] != runs[0].manifest["hardware"] for run in runs):
        yield "The runs were made on different hardware: time and throughput do not compare."
    for run in runs:
        if run.floor and (scores := run.held_out("last")):
            reached = {name: scores.last(name) for name in scores.by_stage}
            yield from (f"{run.name}: {sentence}, which has no network." for sentence in run.floor.missed(scores.split, reached))
    remarks = dict.fromkeys(remark for run in runs for remark in map(str, run.manifest["data"].get("skipped") or ()))
    yield from (f"Of the data: {remark}." for remark in islice(remarks, _REMARKS))
    if len(remarks) > _REMARKS:
        yield f"Of the data: {len(remarks) - _REMARKS} remarks more, which are in manifest.json."
    if len(methods) > 1 and all(len(method.runs) == 1 for method in methods):
        yield "One seed a method: intervals cover the choice of test samples, not the luck of the seed."


def summary_table(result: Comparison) -> Table:
    """Return one row a method: accuracy, KL, calibration, and the difference in accuracy after the last epoch to the first."""
    judged = _judged(result)
    found = {each.place: each for each in result.differences if each.metric == judged}
    of_one = "one seed; accuracies with 95 % intervals over the samples"
    over = "means with 95 % intervals over the seeds" if _several(result) else of_one if judged == "accuracy" else "one seed"
    caption = f"Held-out data, {over}" + (f"; differences are to the first method; {MARKS}" if found else "")
    shown = number_table(
        result.frame, _heads(result), ["Method"], _SCORES[judged], caption, {"Difference, last": found} if found else {}
    )
    return shown._replace(rows=(*shown.rows, *(_floor_row(shown.columns, *each) for each in _floors(result.runs))))


def _floors(runs: Iterable[RunRecord]) -> list[tuple[Floor, str]]:
    """Return what rivals without a network reach, each once, and the split that is shown."""
    found = {repr(run.floor): (run.floor, scores.split) for run in runs if run.floor and (scores := run.held_out("last"))}
    return list(found.values())


def _floor_row(columns: Sequence[str], floor: Floor, split: str) -> tuple[Cell, ...]:
    known = {METRICS[name].title: METRICS[name].text(value) for name, value in floor.scores.get(split, {}).items()}
    return (Cell(floor.name, floor.about), *(Cell(known[title]) if title in known else NOTHING for title in columns[1:]))


def cost_table(result: Comparison) -> Table:
    """Return one row a method: time, throughput, memory."""
    over = "means with 95 % intervals over the seeds" if _several(result) else "one seed"
    return number_table(result.frame, _heads(result), ["Method"], _COSTS, f"Costs, {over}")


def _judged(result: Comparison) -> str:
    """Return what the runs are judged by: of an agent its return, of bins of a number the error, else the accuracy."""
    return next(
        (each for each in _SCORES if any(result.frame.mean(Case(method.name), each) for method in result.methods)), "accuracy"
    )


def _several(result: Comparison) -> bool:
    return any(len(method.runs) > 1 for method in result.methods)


def _heads(result: Comparison) -> dict[Case, list[Cell | str]]:
    """Return how the row of each method begins."""
    seeds = {method.name: [str(run.seed) for run in method.runs] for method in result.methods}
    return {Case(name): [Cell(name, f"seed{'s' * (len(own) > 1)} {', '.join(own)}")] for name, own in seeds.items()}


def stage_table(result: Comparison) -> Table:
    """Return the accuracy after each stage with the last weights, the mean over seeds, in per cent; of numbers their error."""
    metric = _judged(result)
    what = {"return": "return", "mae": "mean absolute error"}.get(metric, "%")
    found = {method.name: result.by_stage(method, metric, "last") for method in result.methods}
    rows = {name: [_stage_text(metric, row.value) for row in own if row.stage] for name, own in found.items()}
    depth = max(map(len, rows.values()))
    stages = [str(stage + 1) for stage in range(depth)]
    return table([f"{what} by stage, last", *stages], [[name, *row, *[""] * (depth - len(row))] for name, row in rows.items()])


def _stage_text(metric: str, value: float) -> str:
    return f"{100 * value:.1f}" if metric == "accuracy" else METRICS[metric].text(value)


def number_table(
    frame: Frame,
    places: Mapping[Case, Sequence[Cell | str]],
    heads: Sequence[str],
    metrics: Iterable[str],
    caption: str = "",
    differences: Mapping[str, Mapping[Case, Difference]] | None = None,
) -> Table:
    """Return one row a place: how it begins, those of the `METRICS` that some place has, each with its interval, then differences.

    `heads` are of the first columns; differences have theirs.
    """
    shown = [name for name in metrics if any(frame.mean(place, name) for place in places)]
    rows = []
    for place, cells in places.items():
        means = [_mean_cell(frame.mean(place, name)) for name in shown]
        rows.append([*cells, *means, *(difference_cell(found.get(place)) for found in (differences or {}).values())])
    titles = [METRICS[name].label if METRICS[name].unit == "s" else METRICS[name].title for name in shown]  # times say their unit
    return table([*heads, *titles, *(differences or {})], rows, caption)


def _mean_cell(row: Row | None) -> Cell:
    """Return a number of whole runs with its interval."""
    if row is None:
        return NOTHING
    metric = METRICS[row.metric]
    return Cell(metric.text(row.value), "–".join(metric.text(end) for end in (row.low, row.high) if end is not None))


def difference_cell(found: Difference | None) -> Cell:
    """Return a difference with its interval and corrected p-value, marked where the interval excludes zero."""
    if found is None:
        return NOTHING
    metric, paired = METRICS[found.metric], found.paired
    value = metric.difference(paired.difference)
    if paired.low is None or paired.high is None:
        return Cell(value, "no interval")
    details = [f"{metric.difference(paired.low)} to {metric.difference(paired.high)}"]
    details += [] if found.over == "seeds" else [f"{paired.n:,} {found.over}"]
    details += [] if found.corrected is None else [f"p {'< 0.001' if found.corrected < 0.001 else f'= {found.corrected:.3f}'}"]
    return Cell(value, ", ".join(details), resolved(paired.difference, paired.low, paired.high))


def as_json(result: Comparison) -> dict[str, Any]:
    """Return the comparison with all its digits: tidy rows, runs named by their directories."""
    return {
        "methods": [
            {"name": method.name, "seeds": [run.seed for run in method.runs], "runs": [str(run.path) for run in method.runs]}
            for method in result.methods
        ],
        "rows": [asdict(row) for row in result.frame.means],
        "differences": [asdict(each) for each in result.differences],
        "notes": list(result.notes),
    }
