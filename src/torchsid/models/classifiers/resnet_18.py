"""ResNet-18 for small images: 3x3 stem, no pooling."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from torchsid.models.images import side_of
from torchsid.models.resnet import ResNet18
from torchsid.settings import checked


@checked
def resnet_18(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 64) -> ResNet18:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: First channels.
    """
    side_of(example)
    return ResNet18(num_classes=num_classes, in_channels=example.shape[1], width=width, stem="cifar")
