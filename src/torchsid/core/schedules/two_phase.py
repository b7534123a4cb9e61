"""The two-phase schedule: the algorithm as the paper states it (arXiv 2510.03273, algorithm 1).

    Phase 1, no gradients:  z = c(x);  p_i = f_i(z, p_{i−1});  cache p_0 … p_{L−1}
    Phase 2, gradients:     z = c(x);  p_i = f_i(z, cached p_{i−1});  L_i = α D(p_i, p_y) + (1−α) D(p_i, cached p_{i−1})
                            module i gets ∇L_i, the extractor Σ_i ∇L_i

In phase 2 no module needs another's output, which is what lets the modules run in parallel.
"""

import torch

from torchsid.core.cascade import Cascade
from torchsid.core.learner import StepOutput
from torchsid.core.schedules.local_pass import local_pass
from torchsid.core.schedules.step import Step
from torchsid.core.side_effects import without_side_effects


def two_phase(step: Step[Cascade]) -> StepOutput:
    """Fill `.grad` of every parameter by the paper's two phases.

    Phase 1 leaves no trace: phase 2 draws the same dropout masks, so that the cached beliefs are those of the network that is
    trained, and BatchNorm's running statistics count each batch once. That is why the gradients equal those of `streaming`.
    """
    with torch.no_grad(), without_side_effects(step.cascade):
        teachers = step.cascade.log_beliefs(step.x)[:-1]
    torch.clear_autocast_cache()  # weights cast in phase 1 carry no graph
    z = step.cascade.features(step.x)
    return local_pass(step, z, teachers=teachers)
