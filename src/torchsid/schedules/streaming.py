"""The streaming schedule: one forward pass, each stage differentiated and freed as soon as it has run.

Stage i's detached output *is* the teacher belief of stage i+1, so the paper's teacher pass is not needed: the gradients are those
of `two_phase`, nothing is computed twice, and only one stage's graph exists at a time. Bytes kept for backward do not grow with
depth.
"""

from torch import Tensor

from torchsid.cascade import Cascade
from torchsid.objective import LocalObjective
from torchsid.schedules.combine import GradientCombiner
from torchsid.schedules.local_pass import local_pass
from torchsid.schedules.output import StepOutput


def streaming(
    cascade: Cascade,
    objective: LocalObjective,
    x: Tensor,
    log_target: Tensor,
    weights: Tensor,
    combiner: GradientCombiner,
) -> StepOutput:
    """Fill `.grad` of every parameter in one pass; arguments as for `two_phase`.

    The extractor runs once: dropout draws one mask and BatchNorm updates its running statistics once, as in ordinary training.
    """
    z = cascade.extractor(x)
    return local_pass(cascade, objective, z, log_target, weights, combiner)
