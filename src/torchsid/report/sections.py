"""The findings of each section of the page: sentences computed from the numbers, and the figures that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from torchsid.report.compare import Comparison, Row
from torchsid.report.figures import beliefs, calibration, conflict, confusion, cost, curves, stages
from torchsid.report.methods import Method
from torchsid.report.record import Split
from torchsid.report.svg import Drawing
from torchsid.report.wording import counted, duration, kl_by_stage, listing, number, percent, verdict

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
    """Say from which stage on the accuracy is within half a point of the last stage's."""
    accuracy = stages.mean_by_stage(method, lambda split: split.accuracy)
    depth = len(accuracy) - 1
    if depth == 1:
        return ""
    late = [stage for stage in range(depth + 1) if abs(accuracy[stage] - accuracy[-1]) > 0.005]
    first = late[-1] + 1 if late else 0
    return f" From stage {first} on, accuracy is within half a point of the last stage's."


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


def costs(result: Comparison) -> Section:
    """Time, throughput and memory."""
    reference, *others = result.rows
    sentences = []
    for row in others:
        if row.train_seconds and reference.train_seconds and reference.train_seconds.mean > 0:
            ratio = row.train_seconds.mean / reference.train_seconds.mean
            sentences.append(f"{row.method.name} trains in {ratio:.2f} of the time of {reference.method.name}.")
    if sentences:
        sentences.append("The runs were timed one after the other, so small differences may be the machine's.")
    elif reference.train_seconds:
        sentences.append(f"Training took {duration(reference.train_seconds.mean)}.")
    drawings = tuple(cost.cost_bars(result.rows))
    return Section(tuple(sentences) if drawings else ("Neither time nor memory was recorded.",), drawings)


def conflicts(result: Comparison) -> Section:
    """Whether the stages' gradients agree in the shared extractor."""
    sentences, drawings, silent = [], [], []
    for method in result.methods:
        recorded = conflict.recorded_conflict(method)
        if not recorded:
            silent.append(method.name)
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
    return Section(tuple(sentences), tuple(drawings))


def locality(result: Comparison) -> Section:
    """What the locality check found, in words."""
    return Section(tuple(_locality(method) for method in result.methods))


def _locality(method: Method) -> str:
    entries = [run.manifest.get("locality") for run in method.runs]
    verdicts = list(dict.fromkeys(map(verdict, entries)))
    if len(verdicts) > 1:
        return f"{method.name}: the runs differ in their verdict: {listing(verdicts)}."
    entry = entries[0] or {}
    checks = f" in {counted(int(entry['runs']), 'check')}" if entry.get("runs") else ""
    depth = int(entry.get("stages") or 0)
    own = f"the loss of each of the {depth} stages" if depth > 1 else "the loss of the stage"
    text = {
        "local": f"{method.name} is local:{checks} {own} reached no parameter of another stage.",
        "global": f"{method.name} is global:{checks} the loss reached the parameters of more than one stage.",
        "not applicable": f"{method.name} has no stages to separate, so locality does not apply.",
    }.get(verdicts[0], f"{method.name}: locality was {verdicts[0]}.")
    detail = str(entry.get("detail") or "").strip()
    return f"{text} {detail[0].upper()}{detail[1:].rstrip('.')}." if detail else text


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
