"""The report: one page of one run, or of several side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from torchsid.errors import ConfigError, RunError
from torchsid.show.page import Cards, Code, Folded, Page, Part, Section
from torchsid.show.plots.curves import Line, curves
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Point
from torchsid.show.plots.stages import by_stage
from torchsid.show.svg import Drawing
from torchsid.show.tables import Table, facts, table
from torchsid.show.text import percent
from torchsid.study.cards import RIVERS, Show, mixed_cards
from torchsid.study.figures import reliability, side_by_side, stage_figure, tradeoff_figures
from torchsid.study.files import write_page
from torchsid.study.frame import select
from torchsid.study.metrics import BY_STAGE, conflict
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
            Section("cost", "Time and memory", _COST, _cost(result)),
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
    return [Folded(f"Warnings during training: {len(found)}", [facts(["Run", "Warning"], found)])] if found else []


def _curves(result: Comparison) -> list[Part]:
    accuracy = _over_epochs(result, "validation_accuracy", "Validation accuracy, %", 100)
    accuracy = accuracy or _over_epochs(result, "train_accuracy", "Training accuracy, %", 100)
    return side_by_side([accuracy, _over_epochs(result, "train_loss", "Training loss")])


def _over_epochs(
    result: Comparison, metric: str, title: str, factor: float = 1, *, bottom: float | None = None, level: float | None = None
) -> Drawing | None:
    lines = []
    for method in result.methods:
        rows = [row for row in select(result.means, method=method.name, metric=metric) if row.epoch is not None]
        lines.append(Line(method.name, [row.epoch or 0 for row in rows], [row.point(factor) for row in rows]))
    return curves(title, lines, x="epoch", bottom=bottom, level=level) if any(line.x for line in lines) else None


def _stages(result: Comparison) -> list[Part]:
    lines = {metric: {method.name: result.by_stage(method, metric) for method in result.methods} for metric in BY_STAGE}
    drawn = (stage_figure(metric, rows) for metric, rows in lines.items())
    return side_by_side([*drawn, *map(_band, result.methods)])


def _band(method: Method) -> Drawing | None:
    scores = method.example.held_out()
    if scores is None or not {0.05, 0.5, 0.95} <= scores.kl_quantiles.keys() or len(scores.by_stage["kl"]) < 3:
        return None
    middle, low, high = ([max(value, 1e-5) for value in scores.kl_quantiles[each]] for each in (0.5, 0.05, 0.95))  # no log of 0
    spread = [Point(*each) for each in zip(middle, low, high, strict=True)]
    lines: dict[str, Sequence[float | Point]] = {"median, middle 90 %": spread, "mean": scores.by_stage["kl"]}
    return by_stage(f"{method.name}: KL of single samples, nats", lines, logarithmic=True)


def _beliefs(result: Comparison) -> Iterator[Part]:
    sampled = [(method.name, run, found) for method, run in _examples(result) if (found := run.samples()) and len(found[1]) > 2]
    for name, run, (samples, log_beliefs) in sampled:
        names, limit = names_of_classes(run, log_beliefs.shape[-1]), max(4, _CARDS // len(sampled))
        cards = mixed_cards(flatten(log_beliefs, samples.target), samples.inputs, _show(run), names, limit)
        yield Cards(f"{name}, seed {run.seed}", cards)


def _show(run: RunRecord) -> Show:
    """Return how the task of a run shows a sample; not at all, where this version cannot read its settings."""
    from torchsid.training import open_run
    from torchsid.training.setup import build_task

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
    columns = ["Method", "True class", "Answer", "Times", "Of the class"]
    return [*side_by_side(drawn), *([table(columns, pairs, "Confused most often")] if pairs else [])]


def _calibration(result: Comparison) -> list[Part]:
    bins = {method.name: scores.calibration for method, _, scores in _evaluated(result) if scores.calibration}
    return side_by_side([reliability("Accuracy by confidence of the last stage, %", bins, (460, 330))])


def _cost(result: Comparison) -> list[Part]:
    names = [method.name for method in result.methods]
    drawn = [*tradeoff_figures(names, lambda place, metric: result.mean(names[place], metric)).values()]
    if len(names) == 1:
        over = {"samples_per_second": "Samples a second", "memory_mib": "Memory of the process, MiB"}
        drawn = [each for metric, title in over.items() if (each := _over_epochs(result, metric, title, bottom=0))]
    return [cost_table(result), *side_by_side(drawn)]


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
            over = [float(np.nanmean(np.where(np.eye(len(each)), np.nan, each))) for _, each in recorded]
            lines.append(Line(method.name, [epoch for epoch, _ in recorded], over))
    means = curves("Mean cosine between different stages", lines, x="epoch") if lines else None
    return side_by_side([*drawn, means])


def _locality(result: Comparison) -> Table:
    rows = [[run.name, locality(run), str((run.manifest.get("locality") or {}).get("detail") or "")] for run in result.runs]
    return facts(["Run", "Verdict", "What was found"], rows)


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
    return [table(["Run", "Kind", "Asked", "Labels changed"], rows), *side_by_side([drawn])]


def _repeat(result: Comparison) -> list[Part]:
    commands: dict[str, list[str]] = {}
    for run in result.runs:
        commands.setdefault(str(run.manifest.get("command") or "not recorded"), []).append(run.name)
    cuts = [cut for method in result.methods if (cut := cut_table(method.name, method.runs[0].manifest))]
    configs = [Folded(f"config.toml of {run.name}", [Code("", run.config_text)]) for run in result.runs]
    return [
        *(Code(", ".join(names), command) for command, names in commands.items()),
        *cuts,
        provenance_table(result.runs),
        *configs,
    ]


def _examples(result: Comparison) -> list[tuple[Method, RunRecord]]:
    return [(method, method.example) for method in result.methods]


def _evaluated(result: Comparison) -> list[tuple[Method, RunRecord, Scores]]:
    return [(method, run, scores) for method, run in _examples(result) if (scores := run.held_out())]
