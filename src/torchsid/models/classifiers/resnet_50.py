"""ResNet-50 for large images: 7x7 stem of stride 2, max-pooling, bottlenecks (v1.5)."""

from torch import Tensor

from torchsid.models.resnet import Bottleneck, ResNet
from torchsid.settings import Count, checked


@checked
def resnet_50(example: Tensor, num_classes: int, *, width: Count = 64) -> ResNet:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    For 1000 classes 25,557,032 parameters; 4.09 G multiply-adds at 224 pixels. Published accuracy with backpropagation on
    ImageNet-1k: 76.1 % in 90 epochs.

    Args:
        example: a batch of images.
        num_classes: C.
        width: First channels.
    """
    return ResNet(example, num_classes, "imagenet", Bottleneck, (3, 4, 6, 3), width=width)
