"""A classifier as the sequence of its layers, which some methods train one by one."""

from typing import Annotated, Any

from torch import Tensor

from torchsid.core.cascade import Positions
from torchsid.core.layers import Layered
from torchsid.models import CLASSIFIERS, trunk_for
from torchsid.settings import OneOf


def layered(
    example: Tensor, num_classes: int, positions: Positions = (), *, trunk: Annotated[Any, OneOf(CLASSIFIERS)] = "perceptron"
) -> Layered:
    """Return the network for inputs like `example`; see `torchsid.Layered`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        trunk: The whole classifier, a sequence of layers.
    """
    return Layered(trunk_for(trunk, example, num_classes, positions), example)
