"""The paper's extractor with a linear layer on top."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from torchsid.models.images import side_of
from torchsid.models.simple_cnn import SimpleCNNClassifier
from torchsid.settings import checked


@checked
def simple_cnn(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 128) -> SimpleCNNClassifier:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: Width of the features before the last layer.
    """
    side = side_of(example, least=4, why="two poolings halve the image")
    return SimpleCNNClassifier(num_classes=num_classes, in_channels=example.shape[1], image_size=side, width=width)
