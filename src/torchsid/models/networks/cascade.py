"""An extractor, and stages that all read its features: the paper's network."""

from typing import Annotated, Any, Literal

from torch import Tensor

from torchsid.core.cascade import Positions
from torchsid.core.shared import SharedCascade, shared_cascade
from torchsid.models import EXTRACTORS
from torchsid.settings import Count, Depth, OneOf, checked


@checked
def cascade(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    extractor: Annotated[Any, OneOf(EXTRACTORS)] = "simple-cnn",
    depth: Depth = 5,
    hidden: Count = 256,
    stage: Literal["plain", "residual"] = "plain",
    init: Literal["pytorch", "xavier", "kaiming", "orthogonal", "zero"] = "pytorch",
) -> SharedCascade:
    """Return a shared cascade for inputs like `example`; see `torchsid.shared_cascade`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        extractor: From an input to the features that all stages read.
        depth: Number of stages L.
        hidden: Width of the hidden layer of each stage.
        stage: Kind of stage: the paper's, or one that adds its logits to the previous log-belief.
        init: Initial weights of the stages. `zero` is for the last layer of each: a plain stage then begins with the uniform
            belief. The last layer of a residual stage always begins with zero.
    """
    return shared_cascade(
        extractor(example), num_classes, depth, hidden=hidden, stage=stage, init=init, example=example, positions=positions
    )
