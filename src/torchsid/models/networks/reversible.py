"""A classifier of stages that can be run backwards, for PETRA."""

from typing import Annotated, Any

from torch import Tensor

from torchsid.core.cascade import Positions
from torchsid.models import CLASSIFIERS, trunk_for
from torchsid.models.reversible import ReversibleNetwork
from torchsid.settings import OneOf


def reversible(
    example: Tensor, num_classes: int, positions: Positions = (), *, trunk: Annotated[Any, OneOf(CLASSIFIERS)] = "revnet"
) -> ReversibleNetwork:
    """Return the network for inputs like `example`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        trunk: The whole classifier, a reversible one.

    Raises:
        ValueError: the classifier is not reversible.
    """
    network = trunk_for(trunk, example, num_classes, positions)
    if not isinstance(network, ReversibleNetwork):
        raise ValueError(f"trunk is a {type(network).__name__}, whose stages cannot be run backwards: set model.trunk = 'revnet'")
    return network
