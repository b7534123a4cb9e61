"""What became of wrong labels in training: the true class found all the same, the label learnt by heart, or neither."""

from dataclasses import dataclass

import torch
from torch import Tensor

from torchsid.study.atlas import Atlas


@dataclass(frozen=True)
class Fates:
    """The answers to images whose label is wrong, and as a reference to those whose label is right, by stage."""

    wrong: Tensor
    """Which labels are wrong, bool `[N]`."""
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


def fates(atlas: Atlas, given: str, labels: Tensor) -> Fates | None:
    """Return what became of wrong labels; None where none is wrong.

    Args:
        atlas: of training images, its truth being the clean labels.
        given: the name of the labels that were trained on, as the atlas knows them.
        labels: those labels, `[N]`.
    """
    wrong = labels != atlas.truth
    if not bool(wrong.any()):
        return None
    found = _share(atlas.right[:, wrong])
    memorised = _share((atlas.answers == labels)[:, wrong])
    truth = list(atlas.belief_in)[-1]
    return Fates(
        wrong=wrong,
        found=found,
        memorised=memorised,
        other=1 - found - memorised,
        agreed=_share(atlas.right[:, ~wrong]),
        in_truth=_share(atlas.belief_in[truth][:, wrong]),
        in_label=_share(atlas.belief_in[given][:, wrong]),
        in_right=_share(atlas.belief_in[given][:, ~wrong]),
    )


def _share(values: Tensor) -> Tensor:
    return values.to(torch.float64).mean(1)
