"""A network without stages, for backpropagation: the classifier, or without one the extractor and one linear layer."""

from typing import Annotated, Any

from torch import Tensor, nn

from torchsid.models import CLASSIFIERS, EXTRACTORS
from torchsid.settings import OneOf


def plain(
    example: Tensor,
    num_classes: int,
    *,
    trunk: Annotated[Any, OneOf(CLASSIFIERS, also=("",))] = "",
    extractor: Annotated[Any, OneOf(EXTRACTORS)] = "simple-cnn",
) -> nn.Module:
    """Return the network for inputs like `example`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        trunk: A whole classifier; empty takes the extractor.
        extractor: From an input to features, which one linear layer reads.
    """
    if trunk:
        network: nn.Module = trunk(example, num_classes)
        return network
    features = extractor(example)
    return nn.Sequential(features, nn.Linear(features.feature_dim, num_classes))
