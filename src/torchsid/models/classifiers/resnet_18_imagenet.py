"""ResNet-18 for large images: 7x7 stem of stride 2, max-pooling."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from torchsid.models.classifiers.resnet_18 import ResNet18
from torchsid.settings import checked


@checked
def resnet_18_imagenet(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 64) -> ResNet18:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: First channels.
    """
    return ResNet18(example, num_classes, "imagenet", width=width)
