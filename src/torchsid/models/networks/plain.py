"""A network without stages, for backpropagation: the classifier, or without one the extractor and one linear layer."""

from typing import Annotated, Any

from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.core.shared import output_width, outputs_of
from torchsid.models import CLASSIFIERS, EXTRACTORS, trunk_for
from torchsid.settings import OneOf


def plain(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    trunk: Annotated[Any, OneOf(CLASSIFIERS, also=("",))] = "",
    extractor: Annotated[Any, OneOf(EXTRACTORS)] = "simple-cnn",
) -> nn.Module:
    """Return the network for inputs like `example`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        trunk: A whole classifier; empty takes the extractor.
        extractor: From an input to features, which one linear layer reads.
    """
    if trunk:
        return trunk_for(trunk, example, num_classes, positions)
    features = extractor(example)
    width = output_width(features, example, positions)
    assert width is not None  # seen from the example
    slots = [nn.Unflatten(-1, (*positions, num_classes))] if positions and positions != "tokens" else []
    return nn.Sequential(features, nn.Linear(width, outputs_of(num_classes, positions)), *slots)
