"""ResNet-18 for small images: 3x3 stem, no pooling."""

from torch import Tensor

from torchsid.models.resnet import BasicBlock, ResNet, Stem
from torchsid.settings import Count, checked


class ResNet18(ResNet):
    """ResNet-18 (arXiv 1512.03385): four layers of two `BasicBlock`s.

    | stem | first layers | parameters | multiply-adds |
    | --- | --- | --- | --- |
    | `cifar` | 3x3 convolution, stride 1 | 11,173,962 (10 classes) | 0.56 G at 32 pixels |
    | `imagenet` | 7x7 convolution, stride 2; 3x3 max-pool, stride 2 | 11,689,512 (1000 classes) | 1.81 G at 224 pixels |

    Published accuracy with backpropagation: CIFAR-10 94.9 % in 200 epochs, 95.6 % in 1200; CIFAR-100 76.4 % and 78.6 %;
    Tiny-ImageNet 61.7 %.

    Args:
        stem: `"cifar"` for small images, `"imagenet"` for large ones.
        width: First channels.
    """

    @checked
    def __init__(self, example: Tensor, num_classes: int, stem: Stem = "cifar", *, width: Count = 64) -> None:
        super().__init__(example, num_classes, stem, BasicBlock, (2, 2, 2, 2), width=width)
