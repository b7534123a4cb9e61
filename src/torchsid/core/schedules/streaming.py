"""The streaming schedule: one forward pass, each stage differentiated and freed as soon as it has run.

Stage i's detached output *is* the teacher belief of stage i+1, so the paper's teacher pass is not needed: the gradients are those
of `two_phase`, nothing is computed twice, and only one stage's graph exists at a time. Bytes kept for backward do not grow with
depth.
"""

from torchsid.core.cascade import Cascade
from torchsid.core.learner import StepOutput
from torchsid.core.schedules.local_pass import local_pass
from torchsid.core.schedules.step import Step


def streaming(step: Step[Cascade]) -> StepOutput:
    """Fill `.grad` of every parameter in one pass.

    The extractor runs once: dropout draws one mask and BatchNorm updates its running statistics once, as in ordinary training.
    """
    z = step.cascade.features(step.x)
    return local_pass(step, z, teachers=step.teachers)
