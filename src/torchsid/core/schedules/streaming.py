"""One forward pass; each stage differentiated and freed at once (default)."""

from torchsid.core.learner import StepOutput
from torchsid.core.step import Step, local_pass


def streaming(step: Step) -> StepOutput:
    """Fill `.grad` of every parameter in one pass; see `torchsid.core.step`.

    The paper's teacher pass is not needed: the gradients are those of `two_phase`, nothing is computed twice, and bytes kept for
    backward do not grow with depth. The extractor draws one dropout mask, and BatchNorm counts the batch once.
    """
    return local_pass(step)
