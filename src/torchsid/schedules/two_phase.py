"""The two-phase schedule: the algorithm as the paper states it (arXiv 2510.03273, algorithm 1).

    Phase 1, no gradients:  z = c(x);  p_i = f_i(z, p_{i−1});  cache p_0 … p_{L−1}
    Phase 2, gradients:     z = c(x);  p_i = f_i(z, cached p_{i−1});  L_i = α D(p_i, p_y) + (1−α) D(p_i, cached p_{i−1})
                            module i gets ∇L_i, the extractor Σ_i ∇L_i

In phase 2 no module needs another's output, which is what lets the modules run in parallel.
"""

import torch
from torch import Tensor

from torchsid.cascade import Cascade
from torchsid.objective import LocalObjective
from torchsid.schedules.combine import GradientCombiner
from torchsid.schedules.local_pass import local_pass
from torchsid.schedules.output import StepOutput
from torchsid.undisturbed import undisturbed


def two_phase(
    cascade: Cascade,
    objective: LocalObjective,
    x: Tensor,
    log_target: Tensor,
    weights: Tensor,
    combiner: GradientCombiner,
) -> StepOutput:
    """Fill `.grad` of every parameter by the paper's two phases.

    Phase 1 leaves no trace: phase 2 draws the same dropout masks, so that the cached beliefs are those of the network that is
    trained, and BatchNorm's running statistics count each batch once. That is why the gradients equal those of `streaming`.

    Args:
        cascade: the extractor and L stages.
        objective: makes the losses `L_i`.
        x: the batch.
        log_target: `p_y` as log-probabilities, `[B, C]`.
        weights: multiply the losses that are differentiated, `[L]`.
        combiner: merges the stages' `∂L_i/∂z` for the extractor.
    """
    with torch.no_grad(), undisturbed(cascade):
        teachers = cascade.log_beliefs(x)[:-1]
    torch.clear_autocast_cache()  # weights cast in phase 1 carry no graph
    z = cascade.extractor(x)
    return local_pass(cascade, objective, z, log_target, weights, combiner, teachers=teachers)
