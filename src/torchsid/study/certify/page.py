"""The page of a certificate: what holds of the theory, and why the stages behave as they do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchsid.show.page import Cards, Figures, Folded, Page, Part, Section
from torchsid.show.plots.belief_paths import simplex
from torchsid.show.plots.curves import by_stage
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Point, points
from torchsid.show.svg import Drawing
from torchsid.show.tables import Cell, Table, facts, number, percent, table
from torchsid.study.certify.answers import Answers, entangled, of_three
from torchsid.study.certify.certificate import Certificate, StageCertificate, Summary
from torchsid.study.figures import CALIBRATION, RIVERS, Show, cards_of, of_each_kind, reliability, side_by_side
from torchsid.study.positions import Flat, flatten, spread
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

    name: str  # of the run's directory
    description: str  # data, weights and objective, in a line
    class_names: Sequence[str]
    theory: Sequence[str]  # what the theory says of the run, a sentence or two each
    log_beliefs: Callable[[Tensor], Tensor]  # from inputs to log-beliefs `[L+1, n, ..., C]` of the few that are drawn
    show: Show
    classes: tuple[int, int, int] | None = None  # corners of the triangle; None takes those most often taken for each other


@dataclass(frozen=True, kw_only=True)
class Certified:
    """What was found on one split."""

    split: str  # `train`, `validation` or `test`
    samples: Samples
    certificates: Mapping[str, Certificate]  # one for each set of labels; the last are the true ones, as far as they are known
    answers: Answers

    @property
    def certificate(self) -> Certificate:
        """That against the true labels."""
        return list(self.certificates.values())[-1]


def certificate_page(subject: Subject, found: Sequence[Certified]) -> Page:
    """Return the page; test samples are pictured, or validation samples, or those of training."""
    shown = min(found, key=lambda each: _PICTURED.index(each.split))
    noisy = [each for each in found if each.split == "train" and bool((each.answers.given != each.answers.truth).any())]
    kinds = of_each_kind(shown.answers.answers, shown.answers.truth, subject.class_names, _SHOWN)
    beliefs = _cards(subject, shown, "Samples of each kind, evenly spread over the split", kinds)
    return Page(
        title=f"Certificate of {subject.name}",
        subtitle=subject.description,
        sections=[
            Section("statements", "What holds of the theory", _THEORY, list(_statements(shown, found, subject.theory))),
            Section("failures", "Where descent fails", _FAILURES, list(_failures(subject, shown))),
            Section("classes", "Class by class", _BY_CLASS, _classes(subject, shown)),
            Section("calibration", "Accuracy and calibration by stage", CALIBRATION, _calibration(shown.answers)),
            Section("triangle", "From the middle to the corners", _TRIANGLE, _triangle(subject, shown)),
            Section("flips", "Who changes the answer", _FLIPS, list(_flips(subject, shown))),
            Section("noise", "Wrong labels in training", _NOISE, [part for each in noisy for part in _noise(subject, each)]),
            Section("beliefs", "How belief flows", RIVERS, [beliefs]),
        ],
    )


_THEORY = (
    "Premise and “KL falls” are shares of the samples. The other columns are means in nats with the worst sample beneath; "
    "“gap left” is what remains of the prior's gap to the label, “ideal” what stages that find their minimisers leave."
)
_FAILURES = f"Samples whose KL to the label some stage raises. {RIVERS}"
_BY_CLASS = "The share of each class that each stage answers rightly; of many classes those that change most."
_FLIPS = "An answer settles at the stage from which on all stages give it."
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


def _statements(shown: Certified, found: Sequence[Certified], theory: Sequence[str]) -> Iterator[Part]:
    """Yield the certificate that is pictured, what is proven, and the other certificates on demand."""
    held = {(each.split, labels): certificate for each in found for labels, certificate in each.certificates.items()}
    parts: dict[tuple[str, str], list[Part]] = {
        place: [statement_table(each, "{}, {} labels".format(*place)), Figures(_statement_figures(each), narrow=True)]
        for place, each in held.items()
    }
    yield from parts.pop((shown.split, list(shown.certificates)[-1]))
    yield facts(["What is proven of this run, and what is not"], [[sentence] for sentence in theory])
    yield from (Folded("{}, {} labels".format(*place), each) for place, each in parts.items())


def _statement_figures(certificate: Certificate) -> list[Drawing]:
    stages, prior = certificate.stages, certificate.prior_kl.mean
    shares = {"premise holds": [stage.premise for stage in stages], "KL falls": [stage.descent for stage in stages]}
    kl = {"mean KL": [stage.kl.mean for stage in stages], "bound of Proposition 4": [stage.bound.mean for stage in stages]}
    left = {"gap left": [stage.residual.mean for stage in stages], "ideal stages": [stage.ideal_residual for stage in stages]}
    return [
        _in_percent("Share of the samples, %", shares, prior=False, size=_SMALL),
        by_stage("KL to the label, nats", {name: [prior, *own] for name, own in kl.items()}, bottom=0, size=_SMALL),
        _in_percent("Gap to the label that is left, %", {name: [1.0, *own] for name, own in left.items()}, bottom=0, size=_SMALL),
    ]


def _in_percent(title: str, lines: Mapping[str, Tensor | Sequence[float]], **look: Any) -> Drawing:
    """Draw shares by stage, as `by_stage` does."""
    return by_stage(title, {name: [100 * float(share) for share in shares] for name, shares in lines.items()}, **look)


def _failures(subject: Subject, part: Certified) -> Iterator[Part]:
    worst: dict[int, tuple[float, int]] = {}  # place: largest rise, stage
    for stage in part.certificate.stages:
        for place, rise in zip(stage.failures.samples, stage.failures.rises, strict=True):
            worst[place] = max(worst.get(place, (rise, stage.stage)), (rise, stage.stage))
    rows = [
        [str(stage.stage), f"{len(stage.failures.samples):,}", number(max(stage.failures.rises, default=0))]
        for stage in part.certificate.stages
    ]
    title = f"{len(worst):,} of {part.certificate.n:,} samples have a rise"
    yield table(["Stage", "Samples with a rise", "Largest rise, nats"], rows, title)
    if not worst:
        return
    sizes = part.answers.class_sizes
    failing = torch.bincount(part.answers.truth[list(worst)], minlength=len(sizes))
    share = {name: 100 * int(failing[name]) / int(size) for name, size in enumerate(sizes) if size}
    largest = sorted(share, key=lambda name: -share[name])[:_CLASSES]
    lanes = {subject.class_names[name]: {"": Point(share[name])} for name in largest}
    yield Figures([points("Samples with a rise at some stage, % of the class", lanes, zero=True)])
    order = sorted(worst, key=lambda place: -worst[place][0])[:_SHOWN]
    lines = {place: [f"stage {worst[place][1]}: +{number(worst[place][0])} nats"] for place in order}
    yield _cards(subject, part, "The largest rises", lines)


def _classes(subject: Subject, part: Certified) -> list[Part]:
    accuracy = part.answers.class_accuracy.numpy()
    present = np.flatnonzero(np.isfinite(accuracy).all(axis=0))
    change = np.ptp(accuracy[:, present], axis=0)
    rows = sorted(present[np.argsort(-change, kind="stable")[:_CLASSES]].tolist())  # of many classes those that change most
    columns = sorted(set(np.linspace(0, len(accuracy) - 1, min(len(accuracy), _STAGES)).round().astype(int).tolist()))
    shown = accuracy[np.ix_(columns, rows)].T
    text = [[f"{100 * share:.0f}" for share in row] for row in shown]
    names, stages = [subject.class_names[name] for name in rows], [str(stage + 1) for stage in columns]
    strength = 0.08 + 0.87 * (shown - shown.min()) / max(np.ptp(shown), 1e-9)
    return [Figures([heat("Answered rightly, %", strength, names, stages, text=text, x="stage", y="class")])]


def _calibration(answers: Answers) -> list[Part]:
    bins = [calibration(stage, right) for stage, right in zip(answers.confidence.double(), answers.right, strict=True)]
    shown = {f"stage {stage + 1}": bins[stage] for stage in sorted({0, answers.depth // 2, answers.depth - 1})}
    errors = {"ECE": [expected_calibration_error(each) for each in bins]}
    drawn = [
        _in_percent("Answered rightly, %", {"accuracy": answers.mean(answers.right)}, prior=False, size=_SMALL),
        _in_percent("Expected calibration error, %", errors, prior=False, bottom=0, size=_SMALL),
        reliability("Accuracy by confidence, %", shown, _SMALL),
    ]
    return side_by_side(drawn, narrow=True)


def _triangle(subject: Subject, part: Certified) -> list[Part]:
    answers = part.answers
    chosen = subject.classes or entangled(answers.answers[-1], answers.truth, answers.class_beliefs[-1])
    places = [place for name in chosen for place in spread(answers.truth == name, _SINGLES)] if chosen else []
    if chosen is None or not places:
        return []
    singles = of_three(_at(subject, part, places).log_beliefs.exp(), chosen).numpy()
    means = of_three(answers.class_beliefs[:, list(chosen)], chosen).numpy()
    corners = np.array([chosen.index(int(name)) for name in answers.truth[places]])
    names = [subject.class_names[name] for name in chosen]
    return [Figures([simplex(f"Beliefs in {', '.join(names)}", means, singles, corners, names)])]


def _flips(subject: Subject, part: Certified) -> Iterator[Part]:
    answers = part.answers
    if answers.depth == 1:
        return
    after, late = answers.right[-1], answers.settled > 1
    before = answers.right.gather(0, (answers.settled - 2).clamp(min=0).unsqueeze(0)).squeeze(0)
    counts = [int(kind.sum()) for kind in (late, late & ~before & after, late & before & ~after, late & ~before & ~after)]
    columns = ["Samples whose answer changes", "Last flip corrects", "spoils", "replaces one wrong answer"]
    yield table(columns, [[f"{count:,}" for count in counts]])
    stands = answers.settled <= torch.arange(1, answers.depth + 1).unsqueeze(1)  # [L, P]
    shares = {"rightly": answers.mean(stands & after), "wrongly": answers.mean(stands & ~after)}
    yield Figures([_in_percent("Samples whose answer is settled, %", shares, prior=False)])
    latest = answers.settled.argsort(descending=True, stable=True)[: min(_SHOWN, counts[0])].tolist()
    lines = {place: [f"last flip at stage {int(answers.settled[place])}", "right" if after[place] else "wrong"] for place in latest}
    if lines:
        yield _cards(subject, part, "The latest flips", lines)


def _noise(subject: Subject, part: Certified) -> Iterator[Part]:
    answers = part.answers
    shares, beliefs = answers.of_wrong_labels()
    drawn = [
        _in_percent("Answers to wrongly labelled samples, %", shares, prior=False, bottom=0),
        _in_percent("Mean belief, %", beliefs, bottom=0),
    ]
    yield Figures(drawn)
    wrong = answers.given != answers.truth
    found, memorised = wrong & answers.right[-1], wrong & (answers.answers[-1] == answers.given)
    for title, kind in (("Found in spite of their label", found), ("Memorised", memorised)):
        lines = {place: [f"labelled {subject.class_names[int(answers.given[place])]}"] for place in spread(kind, _SHOWN)}
        if lines:
            yield _cards(subject, part, f"{title}: {int(kind.sum()):,} of {int(wrong.sum()):,}", lines)


def _cards(subject: Subject, part: Certified, title: str, lines: Mapping[int, Sequence[str]]) -> Cards:
    """Return the samples at some places with the beliefs about them, and what is said of each."""
    said = ([*words, f"sample {int(part.answers.sample[place])}"] for place, words in lines.items())
    flat = _at(subject, part, list(lines))
    return Cards(title, cards_of(flat, part.samples, subject.show, subject.class_names, said))


def _at(subject: Subject, part: Certified, places: Sequence[int]) -> Flat:
    """Return the beliefs at some places, with the true targets as far as these are known."""
    samples, row = torch.unique(part.answers.sample[list(places)], return_inverse=True)
    taken = part.samples.take(samples)
    true = taken.target[:] if taken.clean_target is None else taken.clean_target
    flat = flatten(subject.log_beliefs(taken.inputs[:]), true, taken.weight)
    firsts = torch.searchsorted(part.answers.sample, samples)  # where each sample's positions begin, in the split and here
    here = torch.searchsorted(flat.sample, torch.arange(len(samples)))
    chosen = here[row] + torch.tensor(list(places)) - firsts[row]
    return flat.take(chosen)._replace(sample=part.answers.sample[list(places)])
