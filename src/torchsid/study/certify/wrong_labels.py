"""What became of wrong labels in training: the true class found all the same, the label learnt by heart, or neither."""

from dataclasses import dataclass

from torch import Tensor

from torchsid.study.certify.answers import Answers


@dataclass(frozen=True)
class WrongLabels:
    """The answers to samples whose label is wrong, and as a reference to those whose label is right, by stage."""

    wrong: Tensor
    """Which labels are wrong, bool `[P]`."""
    memorised_by: Tensor
    """Which of these the last stage answers with their label, bool `[P]`."""
    found: Tensor
    """Share of the wrongly labelled that is answered with the true class, `[L]`."""
    memorised: Tensor
    """Share of the wrongly labelled that is answered with the label, `[L]`."""
    other: Tensor
    """Share of the wrongly labelled that is answered with a third class, `[L]`."""
    agreed: Tensor
    """Share of the rightly labelled that is answered with the label, `[L]`; NaN where there are none."""
    in_truth: Tensor
    """Mean belief in the true class of the wrongly labelled, `[L+1]`."""
    in_label: Tensor
    """Mean belief in the label of the wrongly labelled, `[L+1]`."""
    in_right: Tensor
    """Mean belief in the label of the rightly labelled, `[L+1]`; NaN where there are none."""


def wrong_labels(answers: Answers) -> WrongLabels | None:
    """Return what became of the first set of labels where they differ from the last, the true ones; None where none does."""
    (given, labels), *_ = answers.labels.items()
    *_, truth = answers.labels
    wrong, agreed = labels != answers.truth, answers.answers == labels
    if not bool(wrong.any()):
        return None
    found, memorised = answers.mean(answers.right, wrong), answers.mean(agreed, wrong)
    return WrongLabels(
        wrong=wrong,
        memorised_by=wrong & agreed[-1],
        found=found,
        memorised=memorised,
        other=1 - found - memorised,
        agreed=answers.mean(answers.right, ~wrong),
        in_truth=answers.mean(answers.belief_in[truth], wrong),
        in_label=answers.mean(answers.belief_in[given], wrong),
        in_right=answers.mean(answers.belief_in[given], ~wrong),
    )
