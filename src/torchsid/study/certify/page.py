"""The page of a certificate: what holds of the theory, and why the stages behave as they do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchsid.show.page import Card, Cards, Figures, Folded, Page, Part, Section
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Point, points
from torchsid.show.plots.simplex import simplex
from torchsid.show.plots.stages import by_stage
from torchsid.show.svg import Drawing
from torchsid.show.tables import Cell, Table, facts, table
from torchsid.show.text import number, percent
from torchsid.study.cards import RIVERS, Show, card, mixed_cards
from torchsid.study.certify.answers import Answers
from torchsid.study.certify.certificate import Certificate, StageCertificate, Summary
from torchsid.study.certify.simplex import entangled, of_three
from torchsid.study.certify.wrong_labels import wrong_labels
from torchsid.study.figures import reliability, side_by_side
from torchsid.study.positions import Flat, flatten
from torchsid.tasks import Samples
from torchsid.training.evaluation import calibration, expected_calibration_error

_SHOWN = 12  # samples under a heading
_SINGLES = 14  # paths of single samples, of each of three classes
_CLASSES, _STAGES = 20, 16  # more rows and columns are not read
_PICTURED = ("test", "validation", "train")  # held-out samples before those learnt from
_SMALL = (320, 230)  # three figures in a row


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The run that is certified."""

    name: str
    """Of the run's directory."""
    description: str
    """Data, weights and objective, in a line."""
    class_names: Sequence[str]
    theory: Sequence[str]
    """What the theory says of the run, a sentence or two each."""
    log_beliefs: Callable[[Tensor], Tensor]
    """From inputs `[n, ...]` to log-beliefs `[L+1, n, ..., C]`; called for the few whose every belief is drawn."""
    show: Show
    classes: tuple[int, int, int] | None = None
    """The corners of the triangle; None takes the classes most often taken for each other."""


@dataclass(frozen=True, kw_only=True)
class Certified:
    """What was found on one split."""

    split: str
    """`train`, `validation` or `test`."""
    samples: Samples
    certificates: Mapping[str, Certificate]
    """One for each set of labels; the last are the true ones, as far as they are known."""
    answers: Answers

    @property
    def certificate(self) -> Certificate:
        """That against the true labels."""
        return list(self.certificates.values())[-1]


def certificate_page(subject: Subject, found: Sequence[Certified]) -> Page:
    """Return the page; test samples are pictured, or validation samples, or those of training."""
    shown = min(found, key=lambda each: _PICTURED.index(each.split))
    train = next((each for each in found if each.split == "train"), None)
    certificate = shown.certificate
    return Page(
        title=f"Certificate of {subject.name}",
        subtitle=subject.description,
        headline=f"KL to the label falls at every stage for {percent(certificate.descent_everywhere, 1)} of {certificate.n:,} "
        f"{shown.split} samples; the premise of Proposition 2 holds throughout for {percent(certificate.premise_everywhere, 1)}.",
        sections=[
            Section("statements", "What holds of the theory", _THEORY, list(_statements(subject, shown, found))),
            Section("failures", "Where descent fails", _FAILURES, list(_failures(subject, shown))),
            Section("classes", "Class by class", _BY_CLASS, _classes(subject, shown)),
            Section("calibration", "Accuracy and calibration by stage", _CALIBRATION, _calibration(shown)),
            Section("triangle", "From the middle to the corners", _TRIANGLE, _triangle(subject, shown)),
            Section("flips", "Who changes the answer", _FLIPS, list(_flips(subject, shown))),
            Section("noise", "Wrong labels in training", _NOISE, _noise(subject, train) if train else []),
            Section("beliefs", "How belief flows", RIVERS, _beliefs(subject, shown)),
        ],
    )


_THEORY = (
    "Premise and “KL falls” are shares of the samples. The other columns are means in nats with the worst sample beneath; "
    "“gap left” is what remains of the prior's gap to the label, “ideal” what stages that find their minimisers leave."
)
_FAILURES = f"Samples whose KL to the label some stage raises. {RIVERS}"
_BY_CLASS = "The share of each class that each stage answers rightly; of many classes those that change most."
_FLIPS = "An answer settles at the stage from which on all stages give it."
_CALIBRATION = "On the dashed diagonal confidence and accuracy agree; the area of a mark is the share of the samples in its bin."
_TRIANGLE = (
    "A corner is certainty of one class, the cross indifference; beliefs are restricted to the three and renormalised. Thick paths "
    "are mean beliefs by true class from the prior through every stage, thin ones single samples, evenly spread over the split."
)
_NOISE = "Found: the true class is answered in spite of the label; memorised: the wrong label is answered."


def statement_table(certificate: Certificate, title: str) -> Table:
    """Return one row a stage; the detail of a cell is the worst of the samples."""

    def both(summary: Summary) -> Cell:
        return Cell(number(summary.mean), number(summary.worst))

    def row(stage: StageCertificate) -> list[Cell | str]:
        return [
            f"stage {stage.stage}, α = {stage.alpha:g}",
            percent(stage.premise),
            percent(stage.descent),
            *map(both, (stage.kl, stage.epsilon, stage.distance, stage.bound, stage.slack)),
            Cell(percent(stage.residual.mean), percent(stage.residual.worst)),
            percent(stage.ideal_residual),
        ]

    every = ["every stage", percent(certificate.premise_everywhere), percent(certificate.descent_everywhere), *[""] * 7]
    columns = ["", "premise", "KL falls", "KL", "ε", "to minimiser", "bound", "slack", "gap left", "ideal"]
    return table(columns, [*map(row, certificate.stages), every], f"{title}, n = {certificate.n:,}")


def _statements(subject: Subject, shown: Certified, found: Sequence[Certified]) -> Iterator[Part]:
    (name, first), *others = [*list(shown.certificates.items())[::-1]]
    yield statement_table(first, f"{shown.split}, {name} labels")
    yield Figures(_statement_figures(first), narrow=True)
    yield facts(["What is proven of this run, and what is not"], [[sentence] for sentence in subject.theory])
    rest = [(each.split, labels, held) for each in found if each is not shown for labels, held in each.certificates.items()]
    for split, labels, held in [*((shown.split, *each) for each in others), *rest]:
        title = f"{split}, {labels} labels"
        yield Folded(title, [statement_table(held, title), Figures(_statement_figures(held), narrow=True)])


def _statement_figures(certificate: Certificate) -> list[Drawing]:
    stages, prior = certificate.stages, certificate.prior_kl.mean
    premise, descent = ([float("nan"), *(100 * getattr(stage, name) for stage in stages)] for name in ("premise", "descent"))
    kl, bound = ([prior, *(getattr(stage, name).mean for stage in stages)] for name in ("kl", "bound"))
    left, ideal = (
        [100.0, *(100 * stage.residual.mean for stage in stages)],
        [100.0, *(100 * stage.ideal_residual for stage in stages)],
    )
    return [
        by_stage("Share of the samples, %", {"premise holds": premise, "KL falls": descent}, prior=False, size=_SMALL),
        by_stage("KL to the label, nats", {"mean KL": kl, "bound of Proposition 4": bound}, bottom=0, size=_SMALL),
        by_stage("Gap to the label that is left, %", {"gap left": left, "ideal stages": ideal}, bottom=0, size=_SMALL),
    ]


def _failures(subject: Subject, part: Certified) -> Iterator[Part]:
    worst: dict[int, tuple[float, int]] = {}  # place: largest rise, stage
    for stage in part.certificate.stages:
        for place, rise in zip(stage.failures.samples, stage.failures.rises, strict=True):
            worst[place] = max(worst.get(place, (rise, stage.stage)), (rise, stage.stage))
    sizes = part.answers.class_sizes.tolist()
    failing = torch.bincount(part.answers.truth[list(worst)], minlength=len(sizes)).tolist()
    rows = [
        [str(stage.stage), f"{len(stage.failures.samples):,}", number(max(stage.failures.rises, default=0))]
        for stage in part.certificate.stages
    ]
    title = f"{len(worst):,} of {part.certificate.n:,} samples have a rise"
    yield table(["Stage", "Samples with a rise", "Largest rise, nats"], rows, title)
    if not worst:
        return
    share = {name: 100 * failing[name] / size for name, size in enumerate(sizes) if size}
    largest = sorted(share, key=lambda name: -share[name])[:_CLASSES]
    lanes = {subject.class_names[name]: {"": Point(share[name])} for name in largest}
    yield Figures([points("Samples with a rise at some stage, % of the class", lanes, zero=True)])
    order = sorted(worst, key=lambda place: -worst[place][0])[:_SHOWN]
    lines = {place: [f"stage {worst[place][1]}: +{number(worst[place][0])} nats"] for place in order}
    yield Cards("The largest rises", _cards(subject, part, lines))


def _classes(subject: Subject, part: Certified) -> list[Part]:
    accuracy = part.answers.class_accuracy.numpy()
    depth = len(accuracy)
    present = np.flatnonzero(np.isfinite(accuracy).all(axis=0))
    change = np.ptp(accuracy[:, present], axis=0)
    rows = sorted(present[np.argsort(-change, kind="stable")[:_CLASSES]].tolist())  # of many classes those that change most
    columns = sorted(set(np.linspace(0, depth - 1, min(depth, _STAGES)).round().astype(int).tolist()))
    shown = accuracy[np.ix_(columns, rows)].T
    low, high = float(shown.min()), float(shown.max())
    text = [[f"{100 * share:.0f}" for share in row] for row in shown]
    names, stages = [subject.class_names[name] for name in rows], [str(stage + 1) for stage in columns]
    strength = 0.08 + 0.87 * (shown - low) / max(high - low, 1e-9)
    return [Figures([heat("Answered rightly, %", strength, names, stages, text=text, x="stage", y="class")])]


def _calibration(part: Certified) -> list[Part]:
    answers, depth = part.answers, len(part.answers.answers)
    bins = [calibration(stage, right) for stage, right in zip(answers.confidence.double(), answers.right, strict=True)]
    nothing = float("nan")
    accuracy = [nothing, *(100 * answers.accuracy).tolist()]
    ece = [nothing, *(100 * expected_calibration_error(each) for each in bins)]
    shown = {f"stage {stage + 1}": bins[stage] for stage in sorted({0, depth // 2, depth - 1})}
    drawn = [
        by_stage("Answered rightly, %", {"accuracy": accuracy}, prior=False, size=_SMALL),
        by_stage("Expected calibration error, %", {"ECE": ece}, prior=False, bottom=0, size=_SMALL),
        reliability("Accuracy by confidence, %", shown, _SMALL),
    ]
    return side_by_side(drawn, narrow=True)


def _triangle(subject: Subject, part: Certified) -> list[Part]:
    answers = part.answers
    chosen = subject.classes or entangled(answers.answers[-1], answers.truth, answers.class_beliefs[-1])
    places = [place for name in chosen for place in spread(answers.truth == name, _SINGLES)] if chosen else []
    if chosen is None or not places:
        return []
    singles = of_three(_beliefs_of(subject, part, places).exp(), chosen).numpy()
    means = of_three(answers.class_beliefs[:, list(chosen)], chosen).numpy()
    corners = np.array([chosen.index(int(name)) for name in answers.truth[places]])
    names = [subject.class_names[name] for name in chosen]
    return [Figures([simplex(f"Beliefs in {', '.join(names)}", means, singles, corners, names)])]


def _flips(subject: Subject, part: Certified) -> Iterator[Part]:
    answers, depth = part.answers, len(part.answers.answers)
    if depth == 1:
        return
    kinds = {"rightly": answers.right[-1], "wrongly": ~answers.right[-1]}
    by = {
        name: [float("nan"), *(100 * float(answers.mean((answers.settled <= stage) & kind)) for stage in range(1, depth + 1))]
        for name, kind in kinds.items()
    }
    before = answers.right.gather(0, (answers.settled - 2).clamp(min=0).unsqueeze(0)).squeeze(0)
    after, late = answers.right[-1], answers.settled > 1
    counts = [int(kind.sum()) for kind in (late, late & ~before & after, late & before & ~after, late & ~before & ~after)]
    columns = ["Samples whose answer changes", "Last flip corrects", "spoils", "replaces one wrong answer"]
    yield table(columns, [[f"{count:,}" for count in counts]])
    yield Figures([by_stage("Samples whose answer is settled, %", by, prior=False)])
    places = late.nonzero().flatten()
    order = places[answers.settled[places].argsort(descending=True, stable=True)].tolist()[:_SHOWN]
    lines = {place: [f"last flip at stage {int(answers.settled[place])}", "right" if after[place] else "wrong"] for place in order}
    if lines:
        yield Cards("The latest flips", _cards(subject, part, lines))


def _noise(subject: Subject, part: Certified) -> list[Part]:
    found = wrong_labels(part.answers)
    if found is None:
        return []
    nothing = torch.tensor([float("nan")], dtype=torch.float64)
    shares = {
        "found": found.found,
        "memorised": found.memorised,
        "a third class": found.other,
        "right labels: agreed": found.agreed,
    }
    beliefs = {"in the true class": found.in_truth, "in the wrong label": found.in_label, "in a right label": found.in_right}
    answered = {name: (100 * torch.cat([nothing, values])).tolist() for name, values in shares.items()}
    believed = {name: (100 * values).tolist() for name, values in beliefs.items()}
    drawn = [
        by_stage("Answers to wrongly labelled samples, %", answered, prior=False, bottom=0),
        by_stage("Mean belief, %", believed, bottom=0),
    ]
    labels, *_ = part.answers.labels.values()
    parts: list[Part] = [Figures(drawn)]
    for title, kind in (("Found in spite of their label", found.wrong & part.answers.right[-1]), ("Memorised", found.memorised_by)):
        lines = {place: [f"labelled {subject.class_names[int(labels[place])]}"] for place in spread(kind, _SHOWN)}
        if lines:
            parts.append(Cards(f"{title}: {int(kind.sum()):,} of {int(found.wrong.sum()):,}", _cards(subject, part, lines)))
    return parts


def _beliefs(subject: Subject, part: Certified) -> list[Part]:
    right, at_once = part.answers.right[-1], part.answers.settled == 1
    places = [place for kind in (right & at_once, right & ~at_once, ~right) for place in spread(kind, _SHOWN // 3)]
    samples = torch.unique(part.answers.sample[places])
    flat, inputs = _flat(subject, part, samples), part.samples.inputs[samples]
    cards = mixed_cards(flat, inputs, subject.show, subject.class_names, _SHOWN)
    return [Cards("Samples of each kind, evenly spread over the split", cards)]


def _cards(subject: Subject, part: Certified, lines: Mapping[int, Sequence[str]]) -> list[Card]:
    """Return the samples at some places with the beliefs about them, and what is said of each."""
    places, names = list(lines), subject.class_names
    log_beliefs = _beliefs_of(subject, part, places)
    cards = []
    for column, place in enumerate(places):
        truth, sample = int(part.answers.truth[place]), int(part.answers.sample[place])
        shown = subject.show(part.samples.inputs[sample])
        title = f"true {names[truth]}"
        cards.append(card(shown, log_beliefs[:, column], names, truth, title, [*lines[place], f"sample {sample}"]))
    return cards


def _beliefs_of(subject: Subject, part: Certified, places: Sequence[int]) -> Tensor:
    """Return the log-beliefs at some places, `[L+1, n, C]`."""
    samples, row = torch.unique(part.answers.sample[list(places)], return_inverse=True)
    flat = _flat(subject, part, samples)
    firsts = torch.searchsorted(part.answers.sample, samples)  # where each sample's positions begin, in the split and here
    here = torch.searchsorted(flat.sample, torch.arange(len(samples)))
    return flat.log_beliefs[:, here[row] + torch.tensor(list(places)) - firsts[row]]


def _flat(subject: Subject, part: Certified, places: Tensor) -> Flat:
    """Return the beliefs about some samples with their true targets, as far as these are known."""
    taken = part.samples.take(places)
    true = taken.target if taken.clean_target is None else taken.clean_target
    return flatten(subject.log_beliefs(taken.inputs), true, taken.weight)


def spread(candidates: Tensor, count: int) -> list[int]:
    """Return up to `count` places where `candidates` (bool `[P]`) is true, evenly spread over them, ascending."""
    places: list[int] = candidates.nonzero().flatten().tolist()
    if len(places) <= count:
        return places
    return [places[step * len(places) // count] for step in range(count)]
