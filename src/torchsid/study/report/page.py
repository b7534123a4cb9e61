"""The report: one page of one run, or of several side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from torchsid.errors import ConfigError, RunError
from torchsid.show.page import Cards, Code, Figures, Folded, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Point
from torchsid.show.plots.stages import by_stage
from torchsid.show.plots.tradeoff import Mark, tradeoff
from torchsid.show.svg import Drawing
from torchsid.show.tables import Table, table
from torchsid.show.text import percent
from torchsid.study.cards import RIVERS, Show, mixed_cards
from torchsid.study.files import write_page
from torchsid.study.frame import Row
from torchsid.study.metrics import BY_STAGE, METRICS, conflict
from torchsid.study.positions import flatten
from torchsid.study.report.compare import Comparison, compare, cost_table, locality, summary_table
from torchsid.study.report.methods import Method
from torchsid.study.report.provenance import cut_table, provenance_table
from torchsid.study.runs import RunRecord, Scores, names_of_classes, noise_share

_CARDS = 12  # shared out over the methods
_WRITTEN = 20  # classes up to which a confusion matrix has its counts


def render(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the report of the run directories `runs` to the file `out`, whole or not at all, and return its path.

    Args:
        runs: directories.
        out: the file; its directory is made.

    Raises:
        RunError: No runs are given, one cannot be read, `out` is a directory, or a package of the extra
            `torchsid[report]` is missing.
    """
    out = Path(out)
    write_page(out, report_page(compare(runs)))
    return out


def report_page(result: Comparison) -> Page:
    """Return the report of a comparison."""
    data = ", ".join(dict.fromkeys(str(run.manifest["data"]["name"]) for run in result.runs))
    return Page(
        title=f"{data}: {' · '.join(method.name for method in result.methods)}",
        subtitle=_subtitle(result),
        headline=_headline(result),
        notes=result.notes,
        sections=[
            Section("summary", "Summary", _SUMMARY, [summary_table(result), *_warnings(result)]),
            Section("curves", "Learning curves", "Means over the seeds; bands are 95 % intervals.", _curves(result)),
            Section("stages", "What each stage adds", _STAGES, _stages(result)),
            Section("beliefs", "How the stages change their mind", RIVERS, list(_beliefs(result))),
            Section("confusion", "Confusion", _CONFUSION, _confusion(result)),
            Section("calibration", "Calibration", _CALIBRATION, _calibration(result)),
            Section("cost", "Time and memory", _COST, list(_cost(result))),
            Section("conflict", "Gradient conflict", _CONFLICT, _conflict(result)),
            Section("locality", "Locality", _LOCALITY, [_locality(result)]),
            Section("noise", "Label noise", _NOISE, _noise(result)),
            Section(
                "provenance", "Provenance", "A run is repeated by its command, with these versions and these data.", _repeat(result)
            ),
        ],
    )


_SUMMARY = (
    "“Best” is the epoch with the best validation accuracy, “last” the last one. KL is the mean KL(target ‖ belief) of the last "
    "stage in nats and ECE its expected calibration error, both after the last epoch."
)
_STAGES = "Held-out data; bands are 95 % intervals. The last figures show how the KL of single samples is spread in one run."
_CONFUSION = (
    "Rows are true classes, columns answers of the last stage; blue is right, red is wrong, the shade is the share of the row."
)
_CALIBRATION = "On the dashed diagonal confidence and accuracy agree; the area of a mark is the share of the samples in its bin."
_COST = "Each run was timed by itself, so that small differences may be the machine's."
_CONFLICT = "Cosines between the gradients that different stages send into the extractor they share: blue agrees, red conflicts."
_LOCALITY = "Local: no stage's loss reaches another stage's parameters. This is checked at the start of every run."
_PROVENANCE = "A run is repeated by its command, with these versions and these data."
_NOISE = "The dashed line is the share of training labels that are true: accuracy on the training labels above it is memorised."


def _subtitle(result: Comparison) -> str:
    first = result.runs[0]
    data = first.manifest["data"]
    sizes = [f"{data[split]:,} {split}" for split in ("train", "validation", "test") if data.get(split)]
    recipes = ", ".join(dict.fromkeys(str(run.manifest["recipe"]) for run in result.runs))
    finished = str(first.manifest.get("finished") or "")[:10]
    runs = f"{len(result.runs)} runs" if len(result.runs) > 1 else f"seed {first.seed}"
    return " · ".join(filter(None, [f"Recipe {recipes}", f"samples: {', '.join(sizes)}" if sizes else "", runs, finished]))


def _headline(result: Comparison) -> str:
    found = []
    for method in result.methods[:4]:
        row = result.mean(method.name, "best") or result.mean(method.name, "accuracy")
        if row:
            span = f" ({100 * row.low:.1f}–{100 * row.high:.1f})" if row.low is not None and row.high is not None else ""
            found.append(f"{method.name} {percent(row.value)}{span}")
    return f"Held-out accuracy: {', '.join(found)}" if found else "No run has been evaluated yet."


def _warnings(result: Comparison) -> list[Part]:
    found = [[run.name, message] for run in result.runs for message in dict.fromkeys(run.warnings)]
    return (
        [Folded(f"Warnings during training: {len(found)}", [table(["Run", "Warning"], found)._replace(kind="facts")])]
        if found
        else []
    )


def _curves(result: Comparison) -> list[Part]:
    validated = any(result.by_epoch(method.name, "validation_accuracy") for method in result.methods)
    accuracy = ("validation_accuracy", "Validation accuracy, %") if validated else ("train_accuracy", "Training accuracy, %")
    drawn = [_over_epochs(result, *accuracy, 100), _over_epochs(result, "train_loss", "Training loss")]
    return [Figures([each for each in drawn if each])]


def _over_epochs(result: Comparison, metric: str, title: str, factor: float = 1, **options: float | None) -> Drawing | None:
    lines = [_line(method.name, result.by_epoch(method.name, metric), factor) for method in result.methods]
    return curves(title, lines, x="epoch", **options) if any(line.x for line in lines) else None  # type: ignore[arg-type]


def _line(name: str, rows: Sequence[Row], factor: float) -> Line:
    return Line(name, [row.epoch or 0 for row in rows], [row.point(factor) for row in rows])


def _stages(result: Comparison) -> list[Part]:
    drawn = [_by_stage(result, metric) for metric in BY_STAGE]
    bands = [_band(method) for method in result.methods]
    shown = [each for each in [*drawn, *bands] if each]
    return [Figures(shown)] if shown else []


def _by_stage(result: Comparison, metric: str) -> Drawing | None:
    label, factor = BY_STAGE[metric]
    lines = {method.name: [row.point(factor) for row in result.by_stage(method.name, metric)] for method in result.methods}
    title = f"{label[0].upper()}{label[1:]}"
    return by_stage(title, lines, prior=metric == "kl", bottom=None if metric == "accuracy" else 0) if any(lines.values()) else None


def _band(method: Method) -> Drawing | None:
    scores = method.example.held_out()
    if scores is None or not {0.05, 0.5, 0.95} <= scores.kl_quantiles.keys() or len(scores.by_stage["kl"]) < 3:
        return None
    middle, low, high = ([max(value, 1e-5) for value in scores.kl_quantiles[each]] for each in (0.5, 0.05, 0.95))  # no log of 0
    spread = [Point(*each) for each in zip(middle, low, high, strict=True)]
    lines: dict[str, Sequence[float | Point]] = {"median, middle 90 %": spread, "mean": scores.by_stage["kl"]}
    return by_stage(f"{method.name}: KL of single samples, nats", lines, logarithmic=True)


def _beliefs(result: Comparison) -> Iterator[Part]:
    sampled = [(method.name, run, samples) for method, run in _examples(result) if (samples := run.samples())]
    sampled = [(name, run, samples) for name, run, samples in sampled if len(samples.log_beliefs) > 2]
    for name, run, samples in sampled:
        names = names_of_classes(run, samples.log_beliefs.shape[-1])
        flat, limit = flatten(samples.log_beliefs, samples.target), max(4, _CARDS // len(sampled))
        yield Cards(f"{name}, seed {run.seed}", mixed_cards(flat, samples.inputs, _show(run), names, limit))


def _show(run: RunRecord) -> Show:
    """Return how the task of a run shows a sample; not at all, where this version cannot read its settings."""
    from torchsid.training import open_run
    from torchsid.training.build import build_task

    try:
        return build_task(open_run(run.path).config()).show
    except (ConfigError, RunError):
        return lambda _: ""


def _confusion(result: Comparison) -> list[Part]:
    drawn, pairs = [], []
    for method, run, scores in _evaluated(result):
        matrix = scores.confusion
        if not len(matrix):
            continue
        names = names_of_classes(run, len(matrix))
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        right = np.eye(len(matrix), dtype=bool)
        strength = np.where(right, 0.1 + 0.8 * share, -np.minimum(0.12 + 2.2 * share, 1))  # errors are rare, so theirs rises faster
        text = [[str(count) for count in row] for row in matrix]
        strength = np.where(matrix > 0, strength, np.nan)
        drawn.append(heat(f"{method.name}: confusion", strength, names, names, text=text, x="answer", y="true class", square=True))
        limit = 10 if len(names) > _WRITTEN else 3
        wrong = np.where(right, 0, matrix)
        for true, answer in (divmod(int(flat), len(wrong)) for flat in np.argsort(-wrong, axis=None, kind="stable")[:limit]):
            if wrong[true, answer]:
                pairs.append([method.name, names[true], names[answer], str(wrong[true, answer]), percent(share[true, answer], 1)])
    found: list[Part] = [Figures(drawn)] if drawn else []
    columns = ["Method", "True class", "Answer", "Times", "Of the class"]
    return [*found, table(columns, pairs, "Confused most often")] if pairs else found


def _calibration(result: Comparison) -> list[Part]:
    lines = [_reliability(method.name, scores) for method, _, scores in _evaluated(result) if scores.calibration]
    title = "Accuracy by confidence of the last stage, %"
    return [Figures([curves(title, lines, x="confidence, %", diagonal=True, bottom=0, size=(460, 330))])] if lines else []


def _reliability(name: str, scores: Scores) -> Line:
    count = np.array(scores.calibration["count"])
    filled = count > 0
    x, y = (100 * np.array(scores.calibration[key])[filled] for key in ("confidence", "accuracy"))
    return Line(name, x.tolist(), y.tolist(), joined=False, sizes=(count[filled] / count.sum()).tolist())


def _cost(result: Comparison) -> Iterator[Part]:
    yield cost_table(result)
    methods = [method.name for method in result.methods]
    if len(methods) == 1:
        drawn = [
            _over_epochs(result, "samples_per_second", "Samples a second", bottom=0),
            _over_epochs(result, "memory_mib", "Memory of the process, MiB", bottom=0),
        ]
        if any(drawn):
            yield Figures([each for each in drawn if each])
        return
    found = []
    for name in ("kept", "seconds"):
        metric = METRICS[name]
        both = [(result.mean(method, name), result.mean(method, "accuracy")) for method in methods]
        marks = [Mark(y.method, metric.factor * x.value, y.point(100)) for x, y in both if x and y]
        if len(marks) > 1:
            title = f"Accuracy against {metric.label}"
            found.append(tradeoff(title, marks, x=metric.title, y="accuracy, last epoch, %", higher=True))
    if found:
        yield Figures(found)


def _conflict(result: Comparison) -> list[Part]:
    drawn, lines = [], []
    for method, run in _examples(result):
        if recorded := conflict(run):
            epoch, matrix = recorded[-1]
            cosines = np.array(matrix)
            text = [[f"{value:.2f}".replace("-", "−") for value in row] for row in matrix]
            stages = [str(stage + 1) for stage in range(len(matrix))]
            title = f"{method.name}: cosines between stages, epoch {epoch}"
            drawn.append(heat(title, cosines, stages, stages, text=text, x="stage", square=True))
            means = [float(np.nanmean(np.where(np.eye(len(each)), np.nan, each))) for _, each in recorded]
            lines.append(Line(method.name, [epoch for epoch, _ in recorded], means))
    return [Figures([*drawn, curves("Mean cosine between different stages", lines, x="epoch")])] if drawn else []


def _locality(result: Comparison) -> Table:
    rows = [[run.name, locality(run), str((run.manifest.get("locality") or {}).get("detail") or "")] for run in result.runs]
    return table(["Run", "Verdict", "What was found"], rows)._replace(kind="facts")


def _noise(result: Comparison) -> list[Part]:
    noisy = [(run, run.noise) for run in result.runs if run.noise]
    if not noisy:
        return []
    rows = [
        [run.name, str(noise.get("kind")), percent(float(noise.get("rate") or 0), 1), percent(noise_share(noise), 1)]
        for run, noise in noisy
    ]
    true = 100 * (1 - noise_share(noisy[0][1]))
    drawn = _over_epochs(result, "train_accuracy", "Accuracy on the training labels, %", 100, level=true)
    found: list[Part] = [table(["Run", "Kind", "Asked", "Labels changed"], rows)]
    return [*found, Figures([drawn])] if drawn else found


def _repeat(result: Comparison) -> list[Part]:
    commands = [Code(run.name, str(run.manifest.get("command") or "not recorded")) for run in result.runs]
    cuts = [cut for method in result.methods if (cut := cut_table(method.name, method.runs[0].manifest))]
    configs = [Code(f"config.toml of {run.name}", run.config_text, folded=True) for run in result.runs]
    return [*commands, *cuts, provenance_table(result.runs), *configs]


def _examples(result: Comparison) -> list[tuple[Method, RunRecord]]:
    return [(method, method.example) for method in result.methods]


def _evaluated(result: Comparison) -> list[tuple[Method, RunRecord, Scores]]:
    return [(method, run, scores) for method, run in _examples(result) if (scores := run.held_out())]
