"""VGG-11 with BatchNorm, for small images."""

from collections import OrderedDict

from torch import nn


class VGG11(nn.Sequential):
    """VGG-11 (arXiv 1409.1556) with BatchNorm and, as usual for CIFAR, one linear layer in place of the original three.

    Maps images `[B, in_channels, S, S]` to logits `[B, num_classes]`, S >= 32: eight 3x3 convolutions with w, 2w, 4w, 4w, 8w, 8w,
    8w, 8w channels (w = width), five poolings by 2 among them, global average, linear. Names and initialisation (He, fan-out) are
    those of torchvision's `vgg11_bn`, whose `features` load at width 64.

    9,231,114 parameters and 0.15 G multiply-adds (10 classes, 32 pixels, width 64). Published accuracy with backpropagation:
    CIFAR-10 92.4 to 92.8 %, CIFAR-100 68.6 to 70.8 %.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first convolution.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: int = 64) -> None:
        features = nn.Sequential(
            *_convolution(in_channels, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            *_convolution(4 * width, 4 * width),
            nn.MaxPool2d(2),
            *_convolution(4 * width, 8 * width),
            *_convolution(8 * width, 8 * width),
            nn.MaxPool2d(2),
            *_convolution(8 * width, 8 * width),
            *_convolution(8 * width, 8 * width),
            nn.MaxPool2d(2),
        )
        classifier = nn.Linear(8 * width, num_classes)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
        super().__init__(
            OrderedDict(features=features, avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=classifier),
        )


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)  # the bias is idle before BatchNorm; torchvision has it
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()
