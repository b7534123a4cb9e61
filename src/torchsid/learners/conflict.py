"""Do the stages pull the extractor in different directions? Measured as cosines between their gradients."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from torchsid.core.combine import PCGrad
from torchsid.core.side_effects import without_side_effects
from torchsid.learners.sid import SID


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
    kept = PCGrad()  # which keeps every gradient
    with without_side_effects(learner.module):
        learner.schedule(replace(learner.new_step(x, target, weight=weight), combiner=kept))
    if len(kept.gradients) != learner.module.depth:
        found = f"{len(kept.gradients)} of {learner.module.depth} stages send the extractor a gradient"
        raise ValueError(f"{found}: conflict is measured on a shared cascade whose extractor learns from all")
    flat = torch.stack(kept.gradients).flatten(1).double()  # [L, B·F]
    directions = F.normalize(flat, eps=torch.finfo(flat.dtype).tiny)
    return (directions @ directions.T).clamp(-1, 1).float()
