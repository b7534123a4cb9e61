"""The report: one page of one run, or of several side by side."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.core.staged import Plan, StagePlan
from torchsid.errors import ConfigError, RunError
from torchsid.show.page import Cards, Code, Folded, Page, Part, Section
from torchsid.show.plots.curves import Line, by_stage, curves
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Point
from torchsid.show.svg import Drawing
from torchsid.show.tables import Cell, Table, facts, minus, percent, table
from torchsid.study import histograms, passage
from torchsid.study.figures import (
    CALIBRATION,
    RIVERS,
    Show,
    cards_of,
    of_each_kind,
    reliability,
    side_by_side,
    stage_figure,
    tradeoff_figures,
)
from torchsid.study.files import write_page
from torchsid.study.frame import BY_STAGE, Case, conflict, mean_cosine, select
from torchsid.study.positions import flatten
from torchsid.study.report.compare import Comparison, MethodRuns, compare, cost_table, number_table, summary_table
from torchsid.study.runs import RunRecord, Scores, names_of_classes
from torchsid.study.sequence import accuracy_matrix, groups_of
from torchsid.study.statistics import proportion_interval
from torchsid.tasks import Task
from torchsid.training.config import dotted

_CARDS = 12  # shared out over the methods
_LISTED = 2000  # rows of a table of samples
_WRITTEN = 20  # classes up to which a confusion matrix has its counts


def render(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the report of the run directories `runs` to the file `out`, whole or not at all, and return its path.

    A run that cannot be read and a file that cannot be written are a RunError, a package of the extra `report` that is missing a
    MissingPackageError.
    """
    out = Path(out)
    write_page(out, report_page(compare(runs)))
    return out


def report_page(result: Comparison) -> Page:
    """Return the report of a comparison."""
    data = ", ".join(dict.fromkeys(run.data_name for run in result.runs))
    warnings = [[run.name, message] for run in result.runs for message in dict.fromkeys(run.warnings)]
    folded = [Folded(f"Warnings during training: {len(warnings)}", [facts(["Run", "Warning"], warnings)])] if warnings else []
    lines = {name: {method.name: result.by_stage(method, name) for method in result.methods} for name in BY_STAGE}
    stages = [*(stage_figure(name, rows) for name, rows in lines.items()), *map(_band, result.methods)]
    held_out = [
        _over_epochs(result, "validation_return", "Return of the validation episodes"),
        _over_epochs(result, "validation_accuracy", "Validation accuracy, %", 100),
        _over_epochs(result, "validation_mae", "Validation mean absolute error"),
        _over_epochs(result, "validation_loss", "Validation KL(target ‖ belief) of the last stage, nats"),
    ]
    if not any(held_out):
        held_out = [_over_epochs(result, "train_accuracy", "Training accuracy, %", 100)]
    losses = loss_figures(result)
    apart = [*side_by_side(held_out), *side_by_side(losses, narrow=True)]
    drawn = side_by_side([*held_out, *losses]) if len(losses) == 1 else apart
    bins = {method.name: scores.calibration for method, scores in _evaluated(result) if scores.calibration}
    calibration = reliability("Accuracy by confidence of the last stage, %", bins, (460, 330))
    sure = [surety_table(result), *side_by_side([calibration])] if bins else []
    return Page(
        title=f"{data}: {' · '.join(method.name for method in result.methods)}",
        subtitle=_subtitle(result),
        notes=result.notes,
        sections=[
            Section("summary", "Summary", _SUMMARY, [summary_table(result), *folded]),
            Section("curves", "Learning curves", _learning(result), drawn),
            Section("stages", "What each stage adds", _held_out(result), side_by_side(stages)),
            Section("beliefs", "How the stages change their mind", RIVERS, list(_beliefs(result))),
            Section("numbers", histograms.TITLE, histograms.MEANING, list(_numbers(result))),
            Section("passage", passage.TITLE, passage.MEANING, list(_passages(result))),
            Section("confusion", "Confusion", _CONFUSION, _confusion(result)),
            Section("calibration", "Calibration", CALIBRATION, sure),
            Section("images", "The data, by name", _NAMES, list(_by_name(result))),
            Section("sequence", "What later phases leave of earlier ones", _SEQUENCE, list(_sequence(result))),
            Section("cost", "Time and memory", _COST, _cost(result)),
            Section("conflict", "Gradient conflict", _CONFLICT, _conflict(result)),
            Section("locality", "Locality", _LOCALITY, [_locality(result)]),
            Section("noise", "Label noise", _NOISE, _noise(result)),
            Section("provenance", "Provenance", _PROVENANCE, _repeat(result)),
        ],
    )


_SUMMARY = (
    "“Best” is the epoch with the best validation, by accuracy or, of a language model, by nats; “last” the last one. KL is the "
    "mean KL(target ‖ belief) of the last stage in nats and ECE its expected calibration error, both after the last epoch."
)
_CONFUSION = (
    "Rows are true classes, columns answers of the last stage; blue is right, red is wrong, the shade is the share of the row."
)
_SEQUENCE = (
    "Accuracy of the last stage on the validation samples of each task (columns) when training on a task ended (rows). Forgetting "
    "is the mean over all tasks but the last of the best accuracy so far less that at the end."
)
_COST = "Each run was timed by itself, so that small differences may be the machine's."
_CONFLICT = "Cosines between the gradients that different stages send into the extractor they share: blue agrees, red conflicts."
_NAMES = "What the network was trained on and judged by. Answers are those of the last stage to held-out samples."
_LOCALITY = "Local: no stage's loss reaches another stage's parameters. This is checked at the start of every run."
_PROVENANCE = "A run is repeated by its command, with these versions and these data."
_NOISE = "The dashed line is the share of training labels that are true: accuracy on the training labels above it is memorised."


def _subtitle(result: Comparison) -> str:
    first = result.runs[0]
    data = first.manifest["data"]
    sizes = [f"{data[split]:,} {split}" for split in ("train", "validation", "test") if data.get(split)]
    recipes = ", ".join(dict.fromkeys(str(run.manifest["recipe"]) for run in result.runs))
    runs = f"{len(result.runs)} runs" if len(result.runs) > 1 else f"seed {first.seed}"
    samples = f"samples: {', '.join(sizes)}" if sizes else ""
    return " · ".join(filter(None, [f"Recipe {recipes}", samples, runs, str(first.manifest.get("finished") or "")[:10]]))


def _learning(result: Comparison) -> str:
    """Say which intervals there are, and why losses stand apart."""
    seeds = {len(method.runs) for method in result.methods}
    where = "" if min(seeds) > 1 else " where there are several,"
    means = f"Means over the seeds;{where} bands are 95 % intervals." if max(seeds) > 1 else "One seed: there are no intervals."
    apart = " Methods minimise different losses, which do not compare: each has a figure of its own."
    return means + (apart if len(_kinds(result)) > 1 else "")


def _held_out(result: Comparison) -> str:
    """Say what the bands of the figures by stage are."""
    bands = "the band of the accuracy is its 95 % interval over the samples of one seed"
    if max(len(method.runs) for method in result.methods) > 1:
        bands = "bands are 95 % intervals over the seeds"
    return f"Held-out data; {bands}. The last figures show how the KL of single samples is spread in one run."


def _kinds(result: Comparison) -> list[list[MethodRuns]]:
    """Return the methods by what they minimise: the loss of one method and depth is none of another."""
    kinds: dict[str, list[MethodRuns]] = {}
    for method in result.methods:
        config = method.example.config
        kinds.setdefault(repr((config.get("learner"), config.get("model", {}).get("depth"))), []).append(method)
    return list(kinds.values())


def loss_figures(result: Comparison) -> list[Drawing | None]:
    """Draw the training losses, a figure for each kind."""
    kinds = _kinds(result)
    if len(kinds) == 1:
        return [_over_epochs(result, "train_loss", "Training loss")]
    titles = [f"{', '.join(method.name for method in kind)}: training loss" for kind in kinds]
    named = zip(kinds, titles, strict=True)
    return [_over_epochs(result, "train_loss", title, of=kind, size=(320, 230)) for kind, title in named]


def _over_epochs(
    result: Comparison, metric: str, title: str, factor: float = 1, *, of: Sequence[MethodRuns] = (), **look: Any
) -> Drawing | None:
    """Draw a number of an epoch, of some methods or all; `look` is of `curves`."""
    lines = []
    for method in result.methods:  # each keeps its colour
        rows = [row for row in select(result.frame.means, method=method.name, metric=metric) if row.epoch is not None]
        rows = rows if method in (of or result.methods) else []
        lines.append(Line(method.name, [row.epoch or 0 for row in rows], [row.point(factor) for row in rows]))
    return curves(title, lines, x="epoch", **look) if any(line.x for line in lines) else None


def _band(method: MethodRuns) -> Drawing | None:
    scores = method.example.held_out()
    if scores is None or not {0.05, 0.5, 0.95} <= scores.kl_quantiles.keys() or len(scores.by_stage["kl"]) < 3:
        return None
    quantiles = (np.maximum(scores.kl_quantiles[each], 1e-5) for each in (0.5, 0.05, 0.95))  # no log of 0
    spread = [Point(*each) for each in zip(*quantiles, strict=True)]
    lines: dict[str, Sequence[float | Point]] = {"median, middle 90 %": spread, "mean": scores.by_stage["kl"]}
    return by_stage(f"{method.name}: KL of single samples, nats", lines, logarithmic="y")


def surety_table(result: Comparison) -> Table:
    """Return whether a method is surer than it is right, as far as so many samples can tell."""
    rows: list[list[Cell | str]] = []
    for method, scores in _evaluated(result):
        bins = (np.array(scores.calibration.get(key, ()), dtype=float) for key in ("count", "confidence", "accuracy"))
        count, confidence, accuracy = bins
        if not count.sum():
            continue
        share = count / count.sum()
        sure, right = float(share @ confidence), proportion_interval(round(scores.n * float(share @ accuracy)), scores.n)
        low, high = sure - (right.high or 1.0), sure - (right.low or 0.0)
        chance = float(np.sqrt(2 / np.pi * count * confidence * (1 - confidence)).sum() / count.sum())
        verdict = "overconfident" if low > 0 else "underconfident" if high < 0 else f"neither, as far as {scores.n:,} samples tell"
        said = [minus(f"{100 * gap:+.1f}") for gap in (sure - right.mean, low, high)]
        error = Cell(percent(scores.last("ece"), 1), f"about {percent(chance, 1)} by chance alone")
        means = (percent(each, 1) for each in (sure, right.mean))
        rows.append([method.name, f"{scores.n:,}", *means, Cell(said[0], f"{said[1]} to {said[2]}"), error, verdict])
    columns = ["Method", "Samples", "Mean confidence", "Accuracy", "Difference, points", "Calibration error", "The stage is"]
    return table(columns, rows, "The last stage; the difference has the 95 % interval of the accuracy")


def _numbers(result: Comparison) -> Iterator[Part]:
    """Yield the beliefs about a few samples of every method whose outcomes are bins of a number."""
    for method in result.methods:
        if (found := method.example.samples()) and len(found[1]) > 1:
            for drawings in histograms.histograms(method.name, found[1], method.example.manifest["data"]):
                yield from side_by_side(drawings, narrow=True)


def _beliefs(result: Comparison) -> Iterator[Part]:
    examples = [(method.name, method.example) for method in result.methods if not method.example.manifest["data"].get("bins")]
    sampled = [(name, run, found) for name, run in examples if (found := run.samples()) and len(found[1]) > 2]
    for name, run, (samples, log_beliefs) in sampled:
        names, limit = names_of_classes(run, log_beliefs.shape[-1]), max(4, _CARDS // len(sampled))
        flat = flatten(log_beliefs, samples.target[:], samples.weight)
        lines = of_each_kind(flat.log_beliefs[1:].argmax(-1), flat.outcome, names, limit)
        cards = cards_of(flat.take(list(lines)), samples, _show(run), names, lines.values())
        yield Cards(f"{name}, seed {run.seed}", cards)


def _show(run: RunRecord) -> Show:
    """Return how the task of a run shows a sample; not at all, where this version cannot read its settings."""
    task = _task_of(run)
    return (lambda sample: task.show(sample, run.manifest["data"])) if task else lambda _: ""


def _task_of(run: RunRecord) -> Task | None:
    """Return the task of a run; None where this version cannot read its settings."""
    from torchsid.training import open_run
    from torchsid.training.setup import build_task

    try:
        return build_task(open_run(run.path).config())
    except (ConfigError, RunError):
        return None


def _passages(result: Comparison) -> Iterator[Part]:
    from torch import tensor

    for method in result.methods:
        run, task = method.example, _task_of(method.example)
        if found := run.passage():
            about = run.manifest["data"]
            write = str if task is None else lambda token, task=task, about=about: task.write(tensor([token]), about)
            yield from passage.passage_tables(f"{method.name}, seed {run.seed}", found, write)


def _confusion(result: Comparison) -> list[Part]:
    drawn, pairs = [], []
    for method, scores in _evaluated(result):
        matrix, count = scores.confusion, len(scores.confusion)
        if not count:
            continue
        names, right = names_of_classes(method.example, count), np.eye(count, dtype=bool)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        strength = np.where(right, 0.1 + 0.8 * share, -np.minimum(0.12 + 2.2 * share, 1))  # errors are rare, so theirs rises faster
        strength[matrix == 0] = np.nan
        text = [[str(number) for number in row] for row in matrix]
        drawn.append(heat(f"{method.name}: confusion", strength, names, names, text=text, x="answer", y="true class"))
        wrong = np.where(right, 0, matrix)
        most = np.argsort(-wrong, axis=None, kind="stable")[: 10 if count > _WRITTEN else 3]
        for true, answer in zip(*np.unravel_index(most, wrong.shape), strict=True):
            if times := wrong[true, answer]:
                pairs.append([method.name, names[true], names[answer], str(times), percent(share[true, answer], 1)])
    columns = ["Method", "True class", "Answer", "Times", "Of the class"]
    return [*side_by_side(drawn), *([table(columns, pairs, "Confused most often")] if pairs else [])]


def _by_name(result: Comparison) -> Iterator[Part]:
    """Yield what the data are, the wrong answers and all samples by name, and what was left out; nothing without any of these."""
    named = [method.name for method in result.methods if method.example.named]
    classes: dict[tuple[str, str], str] = {}
    answered: dict[tuple[str, str], dict[str, str]] = {}
    for method in result.methods:
        run, scores = method.example, method.example.held_out()
        words = dict(enumerate(map(str, run.manifest["data"].get("class_names") or ())))
        for split, part in run.named.items():
            for place, (name, target) in enumerate(zip(part.names, part.target, strict=True)):
                classes[split, name] = words.get(target, str(target))
                if scores and split == scores.split and place < len(scores.answers):
                    answer = scores.answers[place]
                    answered.setdefault((split, name), {})[method.name] = words.get(answer, str(answer))
    if named:
        run = next(method.example for method in result.methods if method.example.named)
        counts = ", ".join(f"{name} {number:,}" for name, number in sorted(Counter(classes.values()).items()))
        where = ["Where it was", str(run.config["data"].get("path"))]
        yield facts(["Folder", run.data_name], [where, ["Samples by class", counts]])
        wrong = [
            [name, classes[split, name], *(answers.get(method, "") for method in named)]
            for (split, name), answers in answered.items()
            if any(answer != classes[split, name] for answer in answers.values())
        ]
        title = f"{len(wrong):,} of {len(answered):,} answered wrongly"
        yield from _cut_off(title, ["Sample", "Class", *named], wrong, folded=False)
        rows = [
            [name, split, label, *(answered.get((split, name), {}).get(method, "") for method in named)]
            for (split, name), label in classes.items()
        ]
        yield from _cut_off(f"All {len(rows):,} samples", ["Sample", "Split", "Class", *named], rows)
    remarks = dict.fromkeys(str(each) for run in result.runs for each in run.manifest["data"].get("skipped") or ())
    yield from _cut_off(f"Left out of the data: {len(remarks):,}", ["What, and why"], [[each] for each in remarks])


def _cut_off(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, folded: bool = True) -> Iterator[Part]:
    """Yield a table of texts with its title, of very many rows the first; nothing without rows."""
    more = f"; the first {_LISTED:,} are shown, names.json has all" if len(rows) > _LISTED else ""
    shown = facts(columns, rows[:_LISTED], "" if folded else title + more)
    if rows:
        yield Folded(title + more, [shown]) if folded else shown


def _sequence(result: Comparison) -> Iterator[Part]:
    """Yield one row a method, and an accuracy matrix of one run of each; nothing of runs in one phase."""
    matrices = {method.name: (method.example, accuracy_matrix(method.example)) for method in result.methods}
    found = {name: (run, matrix) for name, (run, matrix) in matrices.items() if matrix is not None}
    if found:
        heads: dict[Case, list[Cell | str]] = {Case(name): [name] for name in found}
        yield number_table(result.frame, heads, ["Method"], ["groups", "forgetting", "remembered"])
    drawn = []
    for name, (run, matrix) in found.items():
        asked, text = groups_of(run, matrix.shape[1]), [[f"{100 * each:.0f}" for each in row] for row in matrix]
        drawn.append(heat(f"{name}: accuracy, %", matrix, asked[: len(matrix)], asked, text=text, x="asked", y="after training on"))
    yield from side_by_side(drawn)


def _cost(result: Comparison) -> list[Part]:
    names = [method.name for method in result.methods]
    drawn: list[Drawing | None] = [*tradeoff_figures(result.frame, {name: Case(name) for name in names}).values()]
    if len(names) == 1:
        over = {"samples_per_second": "Samples a second", "memory_mib": "Memory of the process, MiB"}
        drawn = [_over_epochs(result, metric, title, bottom=0) for metric, title in over.items()]
    return [cost_table(result), *side_by_side(drawn)]


def _conflict(result: Comparison) -> list[Part]:
    drawn, lines = [], []
    for method in result.methods:
        if recorded := conflict(method.example):
            epoch, matrix = recorded[-1]
            text = [[minus(f"{value:.2f}") for value in row] for row in matrix]
            stages = [str(stage + 1) for stage in range(len(matrix))]
            title = f"{method.name}: cosines between stages, epoch {epoch}"
            drawn.append(heat(title, matrix, stages, stages, text=text, x="stage"))
            over = [mean_cosine(each) for _, each in recorded]
            lines.append(Line(method.name, [epoch for epoch, _ in recorded], over))
    means = curves("Mean cosine between different stages", lines, x="epoch") if lines else None
    return side_by_side([*drawn, means])


def _locality(result: Comparison) -> Table:
    found = [(run.name, run.manifest.get("locality") or {}) for run in result.runs]
    rows = [[name, str(each.get("verdict", "not checked")), str(each.get("detail") or "")] for name, each in found]
    return facts(["Run", "Verdict", "What was found"], rows)


def _noise(result: Comparison) -> list[Part]:
    noisy = [run for run in result.runs if run.noise_share]
    if not noisy:
        return []
    asked = [(run, run.manifest["data"]["noise"]) for run in noisy]
    rows = [[run.name, str(of.get("kind")), percent(of.get("rate") or 0, 1), percent(run.noise_share, 1)] for run, of in asked]
    true = 100 * (1 - noisy[0].noise_share)
    drawn = _over_epochs(result, "train_accuracy", "Accuracy on the training labels, %", 100, level=true)
    return [table(["Run", "Kind", "Asked", "Labels changed"], rows), *side_by_side([drawn])]


def _repeat(result: Comparison) -> list[Part]:
    commands: dict[str, list[str]] = {}
    for run in result.runs:
        commands.setdefault(str(run.manifest.get("command") or "not recorded"), []).append(run.name)
    return [
        *(Code(", ".join(names), command) for command, names in commands.items()),
        *(cut for method in result.methods if (cut := cut_table(method.name, method.runs[0].manifest))),
        provenance_table(result.runs),
        *(Folded(f"config.toml of {run.name}", [Code("", run.config_text)]) for run in result.runs),
    ]


def _evaluated(result: Comparison) -> list[tuple[MethodRuns, Scores]]:
    return [(method, scores) for method in result.methods if (scores := method.example.held_out())]


_SHOWN_ELSEWHERE = ("command", "plan", "head_share", "locality.", "data.class_names", "data.noise.transitions")


def provenance_table(runs: Sequence[RunRecord], names: tuple[str, ...] = ("",), *, apart: bool = True) -> Table:
    """Return what the manifests say, one line an entry; nothing is left out but what is empty or shown elsewhere.

    Runs that differ have columns of their own if `apart`, else every value is told once; `names` begin the entries that are wanted.
    """
    columns = [{name: value for name, value in dotted(run.manifest) if value not in (None, "", [])} for run in runs]
    shown = (name for column in columns for name in column if name.startswith(names))
    said = dict.fromkeys(name for name in shown if not name.startswith(_SHOWN_ELSEWHERE))
    values = {name: [_text(column.get(name, "–")) for column in columns] for name in said}
    if len(runs) == 1 or not apart:
        return facts(["manifest.json", ""], [[name, "; ".join(dict.fromkeys(found))] for name, found in values.items()])
    rows = [[name, *(found if len(set(found)) > 1 else [found[0], *[""] * (len(runs) - 1)])] for name, found in values.items()]
    return facts(["manifest.json", *(run.name for run in runs)], rows, "A value that stands alone holds for every run")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cut_table(method: str, manifest: Mapping[str, Any]) -> Table | None:
    """Return what each stage of a cut trunk and its belief head cost; None where no trunk was cut."""
    if not manifest.get("plan"):
        return None
    plan = Plan(tuple(StagePlan(**stage) for stage in manifest["plan"]))
    columns, *rows = plan.rows
    share = percent(plan.head_share, 1)
    return table(columns, rows, f"{method}: its stages, for one sample; heads add {share} of multiply-adds")
