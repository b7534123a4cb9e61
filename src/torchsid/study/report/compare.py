"""Methods side by side: every number with its interval, every difference paired."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torchsid.errors import RunError
from torchsid.show.tables import MARKS, NOTHING, Cell, Table, resolved, table
from torchsid.study.frame import Difference, Place, Row, differences, over_seeds, rows_of, select, whole
from torchsid.study.metrics import METRICS
from torchsid.study.report.methods import Method, gather
from torchsid.study.runs import RunRecord, load_run
from torchsid.study.statistics import paired_difference

_COLUMNS = {"best": "Accuracy, best", "accuracy": "Accuracy, last", "kl": "KL", "ece": "ECE"}
_COSTS = {"seconds": "Training", "throughput": "Samples/s", "memory": "Memory", "kept": "Kept for backward"}
_COMPARED = ("accuracy", "best")


@dataclass(frozen=True)
class Comparison:
    """Methods in the order given, the first being the reference; `notes` says what limits the comparison."""

    methods: tuple[Method, ...]
    rows: tuple[Row, ...]
    """Every number of every run."""
    means: tuple[Row, ...]
    """The same over the seeds, with intervals."""
    differences: tuple[Difference, ...]
    """In accuracy, to the first method."""
    notes: tuple[str, ...]

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs, method by method."""
        return tuple(run for method in self.methods for run in method.runs)

    def mean(self, method: str, metric: str) -> Row | None:
        """Return a number of whole runs, if there is one."""
        return whole(self.means, metric, method)

    def by_stage(self, method: Method, metric: str) -> list[Row]:
        """Return the held-out numbers `[L+1]` of the weights to quote; empty without an evaluation."""
        scores, which = method.example.held_out(), method.example.chosen
        rows = select(self.means, method=method.name, metric=metric, weights=which, split=scores.split) if scores else []
        return [row for row in rows if row.stage is not None]


def compare(runs: Sequence[str | Path | RunRecord], *, intervals: bool = True) -> Comparison:
    """Compare runs, given as directories or as records.

    Runs that differ in nothing but the seed become one method: mean and 95 % interval over the seeds. With one seed the
    interval of the accuracy is Wilson's over the samples. A difference to the first method is paired over the seeds when
    both have at least two in common, and over the samples of the same test set otherwise.

    Args:
        runs: at least one.
        intervals: whether to compute intervals and differences, which need SciPy.

    Raises:
        RunError: No runs are given, or one cannot be read.
        ImportError: SciPy is missing.
    """
    if not runs:
        raise RunError("no runs given; name one run directory at least")
    records = [run if isinstance(run, RunRecord) else load_run(run) for run in runs]
    methods = gather(list({record.path: record for record in records}.values()))
    rows = tuple(row for method in methods for run in method.runs for row in rows_of(run, method.name))
    return Comparison(
        methods=tuple(methods),
        rows=rows,
        means=tuple(over_seeds(rows, intervals=intervals)),
        differences=_differences(methods, rows) if intervals else (),
        notes=tuple(_notes(methods)),
    )


def summary_table(result: Comparison) -> Table:
    """Return one row a method: accuracy, KL, calibration, and the difference in accuracy after the last epoch to the first."""
    found = {each.place[0]: each for each in result.differences if each.metric == "accuracy"}
    cells = {method.name: [difference_cell(found.get(method.name))] for method in result.methods} if found else {}
    caption = "Held-out data, with 95 % intervals" + (f"; differences are to the first method; {MARKS}" if found else "")
    return _table(result, _COLUMNS, ["Difference, last"] if found else [], cells, caption)


def cost_table(result: Comparison) -> Table:
    """Return one row a method: time, throughput, memory."""
    return _table(result, _COSTS, [], {}, "Costs, with 95 % intervals")


def _table(
    result: Comparison, columns: Mapping[str, str], more: Sequence[str], cells: Mapping[str, Sequence[Cell]], caption: str
) -> Table:
    """Return one row a method with those metrics that some run has, then more cells."""
    metrics = [name for name in columns if any(result.mean(method.name, name) for method in result.methods)]
    rows = [
        [
            Cell(method.name, f"seed{'s' if len(method.runs) > 1 else ''} {', '.join(str(run.seed) for run in method.runs)}"),
            *(mean_cell(result.mean(method.name, name)) for name in metrics),
            *cells.get(method.name, ()),
        ]
        for method in result.methods
    ]
    return table(["Method", *(columns[name] for name in metrics), *more], rows, caption)


def stage_table(result: Comparison) -> Table:
    """Return the accuracy after each stage with the last weights, the mean over seeds, in per cent."""
    rows = {}
    for method in result.methods:
        scores = method.example.held_out("last")
        found = select(result.means, method=method.name, metric="accuracy", weights="last", split=scores.split if scores else "")
        rows[method.name] = [f"{100 * row.value:.1f}" for row in found if row.stage]
    depth = max(map(len, rows.values()))
    stages = [str(stage + 1) for stage in range(depth)]
    return table(["% by stage, last", *stages], [[name, *row, *[""] * (depth - len(row))] for name, row in rows.items()])


def as_json(result: Comparison) -> dict[str, Any]:
    """Return the comparison with all its digits: tidy rows, runs named by their directories."""
    return {
        "methods": [
            {"name": method.name, "seeds": [run.seed for run in method.runs], "runs": [str(run.path) for run in method.runs]}
            for method in result.methods
        ],
        "rows": [asdict(row) for row in result.means],
        "differences": [asdict(each) for each in result.differences],
        "notes": list(result.notes),
    }


def mean_cell(row: Row | None) -> Cell:
    """Return a number of whole runs with its interval."""
    if row is None:
        return NOTHING
    metric = METRICS[row.metric]
    unit = f"\u00a0{metric.unit}" if metric.unit in ("%", "MiB") else ""
    span = f"{metric.text(row.low)}–{metric.text(row.high)}" if row.low is not None and row.high is not None else ""
    return Cell(f"{metric.text(row.value)}{unit}", span)


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


def locality(run: RunRecord) -> str:
    """Return the verdict of a run's locality check."""
    return str((run.manifest.get("locality") or {}).get("verdict", "not checked"))


def _differences(methods: Sequence[Method], rows: Sequence[Row]) -> tuple[Difference, ...]:
    first, *others = methods
    found: list[Difference] = []
    for metric in _COMPARED:
        pairs: dict[Place, Place] = {(method.name, ""): (first.name, "") for method in others}
        over = {place: each for place, each in differences(rows, pairs, metric).items() if each.paired.n > 1}
        for method in others:
            by_samples = _over_samples(method, first, metric)
            if each := over.get((method.name, "")) or by_samples:
                found.append(each)
    return tuple(found)


def _over_samples(method: Method, reference: Method, metric: str) -> Difference | None:
    """Return the difference of one run each on the same held-out samples; None where they are others."""
    theirs = {run.seed: run for run in reference.runs}
    ours = next((run for run in method.runs if run.seed in theirs and run.scores), method.example)
    yours = theirs.get(ours.seed, reference.example)
    if not same_data(ours, yours) or (metric == "best" and "last" in (ours.chosen, yours.chosen)):
        return None
    a, b = (run.held_out("best" if metric == "best" else "last") for run in (ours, yours))
    if a is None or b is None or a.correct is None or b.correct is None or a.correct.size != b.correct.size:
        return None
    paired = paired_difference(a.correct, b.correct)
    return Difference((method.name, ""), (reference.name, ""), metric, paired, over=f"{a.split} samples")


def same_data(a: RunRecord, b: RunRecord) -> bool:
    """Return whether both were tested on the same samples; the seed cuts training and validation parts of its own."""

    def tested_on(run: RunRecord) -> object:
        whole = run.fingerprint
        return whole.get("arrays/test", whole) if run.manifest["data"].get("test") else whole

    return tested_on(a) == tested_on(b) and a.manifest["data"]["name"] == b.manifest["data"]["name"]


def _notes(methods: Sequence[Method]) -> Iterator[str]:
    runs = [run for method in methods for run in method.runs]
    if any(not run.scores for run in runs):
        yield "Some runs have not been evaluated: they are not in the scores."
    if not all(same_data(runs[0], run) for run in runs):
        yield "The runs do not share their data: their accuracies measure different tasks."
    if len({str(run.manifest["hardware"]) for run in runs}) > 1:
        yield "The runs were made on different hardware: time and throughput do not compare."
    if len(methods) > 1 and all(len(method.runs) == 1 for method in methods):
        yield "One seed a method: intervals cover the choice of test samples, not the luck of the seed."
