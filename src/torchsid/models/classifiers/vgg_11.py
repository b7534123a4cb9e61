"""VGG-11 with BatchNorm and one linear layer, for images of 32 pixels or more."""

from collections import OrderedDict

from torch import Tensor, nn

from torchsid.models.images import convolution, side_of
from torchsid.settings import Count, checked


class VGG11(nn.Sequential):
    """VGG-11 (arXiv 1409.1556) with BatchNorm and, as usual for CIFAR, one linear layer in place of the original three.

    Maps images `[B, channels, S, S]` to logits `[B, num_classes]`, S >= 32: eight 3x3 convolutions with w, 2w, 4w, 4w, 8w, 8w,
    8w, 8w channels (w = width), five poolings by 2 among them, global average, linear. Names and initialisation (He, fan-out) are
    those of torchvision's `vgg11_bn`, whose `features` load at width 64.

    9,231,114 parameters and 0.15 G multiply-adds (10 classes, 32 pixels, width 64). Published accuracy with backpropagation:
    CIFAR-10 92.4 to 92.8 %, CIFAR-100 68.6 to 70.8 %.

    Args:
        width: First channels.
    """

    @checked
    def __init__(self, example: Tensor, num_classes: int, *, width: Count = 64) -> None:
        side_of(example, least=32)
        channels, layers = example.shape[1], list[nn.Module]()
        for times in (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0):  # the width; 0 is a pooling
            following = times * width  # the bias of a convolution is idle before BatchNorm; torchvision has it
            block = [convolution(channels, following, "fan_out"), nn.BatchNorm2d(following), nn.ReLU()] if times else []
            layers += block or [nn.MaxPool2d(2)]
            channels = following or channels
        classifier = nn.Linear(8 * width, num_classes)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
        parts = {"features": nn.Sequential(*layers), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__(OrderedDict(parts, classifier=classifier))
