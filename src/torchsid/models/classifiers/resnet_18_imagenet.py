"""ResNet-18 for large images: 7x7 stem of stride 2, max-pooling."""

from torch import Tensor

from torchsid.models.classifiers.resnet_18 import ResNet18
from torchsid.settings import Count, checked


@checked
def resnet_18_imagenet(example: Tensor, num_classes: int, *, width: Count = 64) -> ResNet18:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: First channels.
    """
    return ResNet18(example, num_classes, "imagenet", width=width)
