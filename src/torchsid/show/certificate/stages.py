"""The chapters about all images of a split: accuracy and calibration by stage, single classes, and the triangle of three."""

import numpy as np

from torchsid.show.certificate.chapter import Chapter
from torchsid.show.certificate.part import Part, Subject, spread
from torchsid.show.figures.by_class import CLASSES, class_heat, shown_classes
from torchsid.show.figures.lines import StageLine, lines_by_stage
from torchsid.show.figures.reliability import reliability
from torchsid.show.figures.simplex import simplex_path
from torchsid.show.wording import listing, percent
from torchsid.study import simplex
from torchsid.training.evaluation import calibration, expected_calibration_error

_SINGLES = 14  # paths of single images, of each of three classes


def accuracy_and_calibration(part: Part) -> Chapter:
    """What each stage adds, and whether its confidence can be trusted."""
    atlas, accuracy = part.atlas, part.atlas.accuracy.tolist()
    depth, confidence = len(accuracy), atlas.confidence.double()
    bins = [calibration(stage, right) for stage, right in zip(confidence, atlas.right, strict=True)]
    ece = [100 * expected_calibration_error(each) for each in bins]
    gaps = [100 * (mean - share) for mean, share in zip(confidence.mean(1).tolist(), accuracy, strict=True)]
    shown = {stage + 1: bins[stage] for stage in sorted({0, depth // 2, depth - 1})}
    what = _what_is_added(accuracy)
    lines = {name: [StageLine(name, values)] for name, values in (("accuracy", [100 * share for share in accuracy]), ("ece", ece))}
    figures = {
        "accuracy": lines_by_stage(what, lines["accuracy"], unit="% answered rightly"),
        "calibration": lines_by_stage(_calibration_title(ece), lines["ece"], unit="%, expected calibration error", bottom=0),
        "reliability": reliability(_trust(gaps), shown),
    }
    sentences = (
        f"{what}. Of {len(atlas.truth):,} {part.noun}, stage {1 + int(np.argmax(accuracy))} answers the most rightly.",
        "On the dashed diagonal confidence and accuracy agree; the area of a mark is the share of the images in its bin.",
    )
    return Chapter("calibration", "Accuracy and calibration by stage", sentences, figures, narrow=True)


def by_class(part: Part, subject: Subject) -> Chapter:
    """What the stages do for each class."""
    accuracy = part.atlas.class_accuracy.numpy()
    shown, present = shown_classes(accuracy), int(np.isfinite(accuracy).all(axis=0).sum())
    change = 100 * (accuracy[-1] - accuracy[0])[np.isfinite(accuracy).all(axis=0)]
    sentences = [
        "The stronger the colour, the larger the share of the class that the stage answers rightly.",
        f"From stage 1 to stage {len(accuracy)} the share answered rightly grows for {int((change > 0).sum())} of {present} "
        f"classes and shrinks for {int((change < 0).sum())}.",
    ]
    if len(shown) < present:
        sentences.append(f"Of {present} classes the {CLASSES} are shown whose share changes most over the stages.")
    return Chapter("classes", "Class by class", tuple(sentences), {"classes": class_heat(accuracy, subject.class_names)})


def triangle(part: Part, subject: Subject) -> Chapter | None:
    """The way of beliefs between three classes; None where there are fewer than three."""
    atlas = part.atlas
    chosen = subject.classes or simplex.entangled(atlas.answers[-1], atlas.truth, atlas.class_beliefs[-1])
    if chosen is None:
        return None
    places = [place for name in chosen for place in spread(atlas.truth == name, _SINGLES)]
    if not places:
        return None
    singles = simplex.points(subject.log_beliefs(part.images[places]).exp(), chosen)
    means = simplex.points(atlas.class_beliefs[:, list(chosen)], chosen)
    names = [subject.class_names[name] for name in chosen]
    corners = np.array([chosen.index(int(name)) for name in atlas.truth[places]])
    why = "chosen on the command line" if subject.classes else "the three that the last stage most often takes for each other"
    sentences = (
        f"A corner is certainty of one class, the cross in the middle is indifference between {listing(names)}, {why}. "
        "Beliefs are restricted to the three and renormalised.",
        f"Thick paths are the mean belief about all images of a class, from the prior through every stage; thin ones are "
        f"{len(places)} single images, evenly spread over the split, that end in a small mark. Colour and mark are those of the "
        "true class.",
    )
    figure = simplex_path(means.numpy(), singles.numpy(), corners, names)
    return Chapter("triangle", "From the middle to the corners", sentences, {"triangle": figure})


def _what_is_added(accuracy: list[float]) -> str:
    first, last = accuracy[0], accuracy[-1]
    start = f"Stage 1 answers {percent(first, 1)} rightly"
    if len(accuracy) == 1:
        return start
    added = 100 * (last - first)
    if abs(added) < 0.05:
        return f"{start}; later stages neither add nor take"
    return f"{start}; later stages {'add' if added > 0 else 'take'} {abs(added):.1f} points"


def _calibration_title(ece: list[float]) -> str:
    if len(ece) == 1:
        return f"The calibration error is {ece[0]:.1f}\u00a0%"
    return f"The calibration error {'falls' if ece[-1] < ece[0] else 'rises'} from {ece[0]:.1f}\u00a0% to {ece[-1]:.1f}\u00a0%"


def _trust(gaps: list[float]) -> str:
    """Say by how much confidence exceeds accuracy at the first and the last stage, in points."""

    def words(gap: float) -> str:
        return "rightly" if abs(gap) < 0.5 else f"{abs(gap):.0f} points too {'much' if gap > 0 else 'little'}"

    first = f"Stage 1 trusts itself {words(gaps[0])}"
    return first if len(gaps) == 1 else f"{first}, stage {len(gaps)} {words(gaps[-1])}"
