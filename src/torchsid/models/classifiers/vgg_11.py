"""VGG-11 with BatchNorm and one linear layer, for images of 32 pixels or more."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from torchsid.models.images import side_of
from torchsid.models.vgg import VGG11
from torchsid.settings import checked


@checked
def vgg_11(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 64) -> VGG11:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: First channels.
    """
    side_of(example, least=32, why="five poolings halve the image")
    return VGG11(num_classes=num_classes, in_channels=example.shape[1], width=width)
