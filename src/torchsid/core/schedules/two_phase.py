"""The paper's algorithm: a teacher pass without gradients, then every stage by itself."""

from dataclasses import replace

import torch

from torchsid.core.learner import StepOutput
from torchsid.core.side_effects import without_side_effects
from torchsid.core.step import Step, local_pass


def two_phase(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter by the paper's two phases (arXiv 2510.03273, algorithm 1).

        Phase 1, no gradients:  z = c(x);  p_i = f_i(z, p_{i−1});  cache p_0 … p_{L−1}
        Phase 2, gradients:     z = c(x);  p_i = f_i(z, cached p_{i−1});  L_i = α D(p_i, p_y) + (1−α) D(p_i, cached p_{i−1})
                                module i gets ∇L_i, the extractor Σ_i ∇L_i

    In phase 2 no module needs another's output, which is what lets the modules run in parallel. Phase 1 leaves no trace: phase 2
    draws the same dropout masks, and running statistics count each batch once. So the gradients are those of `streaming`.
    """
    with torch.no_grad(), without_side_effects(step.cascade):
        teachers = step.cascade.log_beliefs(step.x, step.log_belief)[:-1]
    torch.clear_autocast_cache()  # weights cast in phase 1 carry no graph
    return local_pass(replace(step, teachers=teachers))
