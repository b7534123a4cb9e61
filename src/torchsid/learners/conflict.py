"""Do the stages pull the extractor in different directions? Measured as cosines between their gradients."""

from dataclasses import replace

import torch
from torch import Tensor

from torchsid.core.side_effects import without_side_effects
from torchsid.learners.sid import SID


class _Recorder:
    """A combiner that keeps every gradient and returns their sum."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        self.gradients.append(gradient.detach().clone())

    def result(self) -> Tensor:
        return torch.stack(self.gradients).sum(0)


def gradient_conflict(learner: SID, x: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the pairwise cosines of the stages' gradients with respect to the shared features, `[L, L]`.

    Below 0, two stages ask the extractor for opposite changes. The gradients are `∂L_i/∂z` over the whole batch; a stage with no
    gradient has cosine 0 with every other. The network, its gradients and the random number generators are left as they were.

    Args:
        learner: a SID learner on a shared cascade whose extractor has parameters.
        x: a batch, `[B, ...]`.
        target: its targets.
        weight: of each position, if they do not all count the same.

    Raises:
        ValueError: fewer than L stages send the extractor a gradient.
    """
    recorder = _Recorder()
    depth = learner.module.depth
    with without_side_effects(learner.module):
        learner.schedule(replace(learner.new_step(x, target, weight=weight), combiner=recorder))
    if len(recorder.gradients) != depth:
        raise ValueError(
            f"{len(recorder.gradients)} of {depth} stages send the extractor a gradient: conflict is measured on a shared "
            "cascade whose extractor has parameters that require gradients"
        )
    flat = torch.stack(recorder.gradients).flatten(1).double()  # [L, B·F]
    flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    cosines: Tensor = flat @ flat.T
    return cosines.clamp(-1, 1).float()
