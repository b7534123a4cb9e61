"""Beliefs over the bins of a number, drawn as the distributions that they are, stage by stage."""

from collections.abc import Iterator

import torch
from torch import Tensor

from torchsid.core.bins import Bins
from torchsid.show.plots.curves import Line, curves
from torchsid.show.svg import Drawing
from torchsid.tasks import About

TITLE = "What each stage believes of the number"
MEANING = (
    "A held-out sample in each row: the probability of every bin, in per cent, after each stage. Where a sample has several "
    "positions, such as the actions of an agent, each has a curve, and the key tells its mean."
)
_SHOWN = 3  # samples


def histograms(name: str, log_beliefs: Tensor, about: About) -> Iterator[list[Drawing]]:
    """Yield for each of a few samples a drawing a stage, from log-beliefs `[L+1, n, ..., C]`; nothing without bins."""
    bins = Bins.of(about)
    if bins is None:
        return
    positions = log_beliefs.flatten(2, -2) if log_beliefs.dim() > 3 else log_beliefs.unsqueeze(2)  # [L+1, n, M, C]
    last, middles = positions.shape[1] - 1, bins.centres(torch.zeros((), dtype=torch.float64)).tolist()
    for sample in sorted({place * last // (_SHOWN - 1) for place in range(_SHOWN)}):
        found = []
        for stage, beliefs in enumerate(positions[1:, sample].double(), 1):
            means, several = bins.mean(beliefs).tolist(), len(beliefs) > 1
            lines = [
                Line(f"{f'position {place}' if several else 'mean'}: {mean:.3g}", middles, (100 * belief.exp()).tolist())
                for place, (mean, belief) in enumerate(zip(means, beliefs, strict=True))
            ]
            found.append(curves(f"{name}, sample {sample + 1}, stage {stage}", lines, x="", bottom=0, size=(320, 200)))
        yield found
