"""The findings of each section of the page: sentences computed from the numbers, and the figures that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from torchsid.show.compare import Comparison, Row
from torchsid.show.figures import beliefs, calibration, conflict, confusion, cost, curves, stages
from torchsid.show.figures.tradeoff import COSTS, Tradeoff, marks, tradeoff
from torchsid.show.methods import Method
from torchsid.show.record import Split
from torchsid.show.svg import Drawing
from torchsid.show.wording import counted, duration, kl_by_stage, listing, mebibytes, number, percent, thrift, verdict

_TRAJECTORIES = 12  # shared out over the methods


@dataclass(frozen=True)
class Section:
    """What a section says, then what it shows. `keyed` sections draw several methods in one figure."""

    sentences: tuple[str, ...]
    drawings: tuple[Drawing, ...] = ()
    keyed: bool = False


@dataclass(frozen=True)
class Minds:
    """The belief trajectories of one method."""

    method: str
    sentence: str
    trajectories: tuple[beliefs.Trajectory, ...]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one method and its most frequent errors."""

    method: str
    drawing: Drawing
    pairs: tuple[confusion.Confused, ...]


def learning_curves(result: Comparison) -> Section:
    """Accuracy and loss over the epochs, all methods in one figure."""
    sentences = [sentence for row in result.rows if (sentence := _best_epoch(row))]
    if any(len(method.runs) > 1 for method in result.methods):
        sentences.append("Thick lines are means over seeds, thin lines single seeds.")
    methods = result.methods
    return Section(tuple(sentences), (curves.accuracy_curve(methods), curves.loss_curve(methods)), keyed=True)


def _best_epoch(row: Row) -> str:
    if row.best is None:
        return ""
    epochs = sorted(set(row.best.epochs))
    noun = "epoch" if len(epochs) == 1 else "epochs"
    longest = max(len(run.epochs) for run in row.method.runs)
    return f"{row.method.name} is best on validation after {noun} {listing(epochs)} of {longest}."


def by_stage(result: Comparison) -> Section:
    """What every stage adds, with the spread of KL over the samples."""
    sentences, bands = [], []
    for index, method in enumerate(result.methods):
        kl = stages.mean_by_stage(method, lambda split: split.kl)
        if not kl:
            continue
        sentences.append(f"{method.name}: {kl_by_stage(kl)}.{_enough(method)}")
        bands.append(stages.kl_band(method, index) if len(kl) > 2 else None)
    if not sentences:
        return Section(("No run has been evaluated.",))
    shown = [band for band in bands if band is not None]
    if shown:
        sentences.append(
            "Bands hold the middle half and the middle 90\u00a0% of the samples of one seed; "
            "the solid line is the median, the dashed one the mean."
        )
    methods = result.methods
    lines = (stages.accuracy_by_stage(methods), stages.kl_mean_by_stage(methods))
    return Section(tuple(sentences), (*lines, *shown), keyed=True)


def _enough(method: Method) -> str:
    """Say which stage is the first to be as accurate as the last, give or take half a point, and whether one is better."""
    accuracy = stages.mean_by_stage(method, lambda split: split.accuracy)
    depth, last = len(accuracy) - 1, accuracy[-1]
    if depth == 1:
        return ""
    best = int(np.argmax(accuracy))
    if accuracy[best] > last + 0.005:
        return f" Stage {best} is the most accurate, {100 * (accuracy[best] - last):.2f} points above the last."
    first = next(stage for stage in range(depth + 1) if accuracy[stage] >= last - 0.005)
    if first == depth:
        return " No earlier stage comes within half a point of the last one's accuracy."
    return f" Stage {first} is the first within half a point of the last one's accuracy."


def minds(result: Comparison) -> tuple[Minds, ...]:
    """How the stages changed their mind about single images, for every method that has stages and samples."""
    runs = [(method.name, method.example or method.runs[0]) for method in result.methods]
    sampled = [(name, run, run.samples) for name, run in runs if run.samples and len(run.samples.beliefs) > 2]
    found = []
    for name, run, samples in sampled:
        share = max(4, _TRAJECTORIES // len(sampled))
        settled = [beliefs.settled_stage(samples.beliefs[:, k]) for k in range(len(samples.labels))]
        depth = len(samples.beliefs) - 1
        sentence = (
            f"{name}, seed {run.seed}: of {counted(len(settled), 'sample')} picked to show quick, late and wrong answers, "
            f"{sum(stage == 1 for stage in settled)} keep the answer of stage 1, "
            f"and the latest settles at stage {max(settled)} of {depth}."
        )
        found.append(Minds(name, sentence, tuple(beliefs.trajectories(samples, run.class_names, share))))
    return tuple(found)


def confusions(result: Comparison) -> tuple[Confusion, ...]:
    """One confusion matrix a method, of the run that stands for it."""
    found = []
    for method, split, names in _examples(result):
        drawing = confusion.confusion_matrix(split.confusion, names, method.name)
        limit = 10 if len(names) > confusion.ANNOTATED else 3
        found.append(Confusion(method.name, drawing, tuple(confusion.most_confused(split.confusion, names, limit))))
    return tuple(found)


def calibrated(result: Comparison) -> Section:
    """Calibration of the last stage, one diagram a method."""
    order = {method.name: index for index, method in enumerate(result.methods)}
    found = [(method, split) for method, split, _ in _examples(result)]
    drawings = [calibration.calibration_diagram(split, method.name, order[method.name]) for method, split in found]
    sentences = [_confidence(method.name, split) for method, split in found] or ["No run has been evaluated."]
    return Section(tuple(sentences), tuple(drawings))


def _confidence(name: str, split: Split) -> str:
    count = np.array(split.calibration["count"])
    filled = count > 0
    confidence = float(np.average(np.array(split.calibration["confidence"])[filled], weights=count[filled]))
    gap = confidence - split.accuracy[-1]
    word = "well calibrated on average" if abs(gap) < 0.005 else "overconfident" if gap > 0 else "underconfident"
    return (
        f"{name} is {word}: mean confidence {percent(confidence, 1)}, accuracy {percent(split.accuracy[-1], 1)}, "
        f"expected calibration error {percent(split.ece[-1])}."
    )


def tradeoffs(result: Comparison) -> Section:
    """What several methods reach against what they cost; nothing for a single one, or where too little was recorded."""
    methods = [_tradeoff(row) for row in result.rows]
    split = next((row.last.split for row in result.rows if row.last), "test")
    shown = [cost for cost in COSTS if len(marks(methods, cost)) > 1]
    if not shown:
        return Section(())
    sentence = thrift(result)
    return Section((sentence,) if sentence else (), tuple(tradeoff(methods, [cost], split=split) for cost in shown))


def _tradeoff(row: Row) -> Tradeoff:
    splits = [run.last.held_out for run in row.method.runs if run.last]
    return Tradeoff(
        name=row.method.name,
        accuracy=[split.accuracy[-1] for split in splits if split],
        kept_bytes=row.kept_bytes.mean if row.kept_bytes else None,
        seconds=row.train_seconds.mean if row.train_seconds else None,
    )


def costs(result: Comparison) -> Section:
    """Time, throughput and memory: bars to compare methods, curves over the epochs for a single one."""
    if len(result.rows) == 1:
        drawings = (curves.throughput_curve(result.methods), curves.memory_curve(result.methods))
        return Section((_cost(result.rows[0]),), drawings)
    reference, *others = result.rows
    sentences = []
    for row in others:
        if row.train_seconds and reference.train_seconds and reference.train_seconds.mean > 0:
            ratio = row.train_seconds.mean / reference.train_seconds.mean
            sentences.append(f"{row.method.name} trains in {ratio:.2f} of the time of {reference.method.name}.")
    sentences.append("Each run was timed by itself, so small differences may be the machine's.")
    return Section(tuple(sentences), tuple(cost.cost_bars(result.rows)))


def _cost(row: Row) -> str:
    parts = [
        f"training took {duration(row.train_seconds.mean)}" if row.train_seconds else "",
        f"the median epoch ran at {number(row.samples_per_second.mean)} images a second" if row.samples_per_second else "",
        f"memory peaked at {number(row.peak_memory_mib.mean)} MiB" if row.peak_memory_mib else "",
        f"a step kept {mebibytes(row.kept_bytes.mean)} for backward" if row.kept_bytes else "",
    ]
    text = listing(list(filter(None, parts)) or ["neither time nor memory was recorded"])
    return f"{text[0].upper()}{text[1:]}."


def conflicts(result: Comparison) -> Section:
    """Whether the stages' gradients agree in the shared extractor."""
    sentences, drawings = [], []
    silent: list[str] = []
    cut: list[str] = []
    for method in result.methods:
        recorded = conflict.recorded_conflict(method)
        if not recorded:
            (cut if method.runs[0].manifest.get("plan") else silent).append(method.name)
            continue
        epoch, cosines = recorded[-1]
        upper = cosines[np.triu_indices(len(cosines), 1)]
        means = [mean for _, entry in recorded if not isnan(mean := conflict.mean_cosine(entry))]
        average = f"; over {counted(len(means), 'recorded epoch')} it is {np.mean(means):.2f}" if means else ""
        sentences.append(
            f"{method.name}: in epoch {epoch} the mean cosine of two stages' gradients in the extractor is "
            f"{conflict.mean_cosine(cosines):.2f}{average}. "
            f"{int(np.sum(upper < 0))} of {counted(len(upper), 'pair')} conflict (cosine below zero).".replace("-", "−")
        )
        drawings.append(conflict.conflict_matrix(method.name, epoch, cosines))
    if silent:
        sentences.append(f"Not recorded for {listing(silent)}.")
    if cut:
        sentences.append(f"The stages of {listing(cut)} share no extractor in which gradients could conflict.")
    return Section(tuple(sentences), tuple(drawings))


def locality(result: Comparison) -> Section:
    """What the locality check found, in words."""
    return Section(tuple(_locality(method) for method in result.methods))


def _locality(method: Method) -> str:
    entries = [run.manifest.get("locality") for run in method.runs]
    verdicts = list(dict.fromkeys(map(verdict, entries)))
    if len(verdicts) > 1:
        return f"{method.name}: the runs differ in their verdict, {listing(verdicts)}."
    detail = str((entries[0] or {}).get("detail") or "").removeprefix(f"{verdicts[0]}:").strip()
    why = {
        "local": "No stage's loss reaches another stage's parameters",
        "windowed": "A loss reaches back over a few stages and no further",
        "global": "One loss reaches the parameters of every stage",
        "not applicable": "The network has no stages to separate",
    }.get(verdicts[0], "The run did not record a check")
    return f"{method.name}: {verdicts[0]}. {why}{f' ({detail})' if detail else ''}."


def label_noise(result: Comparison) -> Section | None:
    """Whether the noise was learnt by heart; None when every run has clean labels."""
    noisy = [method for method in result.methods if method.runs[0].noise]
    if not noisy:
        return None
    noise = noisy[0].runs[0].noise or {}
    measured = float(noise.get("measured") or noise.get("rate") or 0)
    asked = f"{percent(float(noise['rate']), 1)} asked, " if noise.get("rate") is not None else ""
    sentences = [
        f"Noise of kind {noise.get('kind', 'unknown')}: {asked}{percent(measured, 1)} of the labels measured as changed.",
        f"A network that ignores the noise agrees with about {percent(1 - measured, 1)} of the training labels; "
        "what lies above that has been memorised.",
        *(_memorised(method, measured) for method in noisy),
    ]
    return Section(tuple(filter(None, sentences)), (curves.memorisation_curve(noisy, measured),), keyed=True)


def _memorised(method: Method, measured: float) -> str:
    final = curves.final_train_accuracy(method)
    if final is None:
        return ""
    excess = final - (1 - measured)
    finding = f"{number(100 * excess)} points above" if excess > 0 else "not above"
    return f"{method.name} ends at {percent(final, 1)}, {finding} that line."


def _examples(result: Comparison) -> list[tuple[Method, Split, Sequence[str]]]:
    found: list[tuple[Method, Split, Sequence[str]]] = []
    for method in result.methods:
        run = method.example
        split = run.chosen.held_out if run and run.chosen else None
        if run is not None and split is not None:
            found.append((method, split, run.class_names))
    return found
