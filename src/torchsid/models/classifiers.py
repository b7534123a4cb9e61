"""The classifiers by name, the images and widths that each can take, and how it is built. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchsid.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import nn

CLASSIFIERS = {
    "simple-cnn": "the paper's extractor with a linear layer on top",
    "mlp": "eight residual blocks of two linear layers on the flattened image",
    "resnet-18": "ResNet-18 for small images: 3x3 stem, no pooling",
    "resnet-18-imagenet": "ResNet-18 for large images: 7x7 stem of stride 2, max-pooling",
    "vgg-11": "VGG-11 with BatchNorm and one linear layer, for images of 32 pixels or more",
    "vit-tiny": "vision transformer: 8x8 patches, 12 blocks of width 192",
}


@dataclass(frozen=True)
class _Range:
    """The values that a setting can take: multiples of `step`, not below `least`; `why` is a clause."""

    least: int = 1
    step: int = 1
    why: str = ""

    def problems(self, setting: str, value: int) -> list[str]:
        """One sentence if the value is outside, else nothing."""
        if value >= self.least and value % self.step == 0:
            return []
        allowed = f"{self.least} or more" if self.step == 1 else f"a multiple of {self.step}"
        return [f"{setting}={value} must be {allowed}{', since ' if self.why else ''}{self.why}"]


@dataclass(frozen=True)
class _Limits:
    default_width: int
    image_size: _Range = _Range()
    width: _Range = _Range()


_LIMITS = {
    "simple-cnn": _Limits(128, image_size=_Range(4, why="two poolings halve the image")),
    "mlp": _Limits(256),
    "resnet-18": _Limits(64),
    "resnet-18-imagenet": _Limits(64),
    "vgg-11": _Limits(64, image_size=_Range(32, why="five poolings halve the image")),
    "vit-tiny": _Limits(
        192,
        image_size=_Range(8, 8, why="the image is cut into 8 x 8 patches"),
        width=_Range(64, 64, why="every attention head is 64 wide"),
    ),
}


def classifier_names() -> tuple[str, ...]:
    """Return the names of the classifiers."""
    return tuple(CLASSIFIERS)


def classifier(name: str, *, num_classes: int, in_channels: int, image_size: int, width: int | None = None) -> nn.Module:
    """Build a classifier that maps images `[B, in_channels, image_size, image_size]` to logits `[B, num_classes]`.

    Args:
        name: one of `classifier_names()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: side of the images in pixels.
        width: scales the whole network: features of `simple-cnn` and `mlp`, first channels of a ResNet or VGG, tokens of a ViT.
            None is the network's own: 128, 256, 64, 192.

    Raises:
        ValueError: the name is unknown, or the network cannot take such images or such a width; all problems at once.
    """
    if name not in CLASSIFIERS:
        raise ValueError(unknown_name("classifier", name, CLASSIFIERS))
    limits = _LIMITS[name]
    if width is None:
        width = limits.default_width
    problems = [
        *_Range().problems("num_classes", num_classes),
        *_Range().problems("in_channels", in_channels),
        *limits.image_size.problems("image_size", image_size),
        *limits.width.problems("width", width),
    ]
    if problems:
        raise ConfigError(problems, source=f"classifier {name!r}")
    return _build(name, num_classes, in_channels, image_size, width)


def _build(name: str, num_classes: int, in_channels: int, image_size: int, width: int) -> nn.Module:
    match name:
        case "simple-cnn":
            from torchsid.models.simple_cnn import SimpleCNNClassifier

            return SimpleCNNClassifier(num_classes=num_classes, in_channels=in_channels, image_size=image_size, width=width)
        case "mlp":
            from torchsid.models.block_mlp import BlockMLP

            return BlockMLP(num_classes=num_classes, in_channels=in_channels, image_size=image_size, width=width)
        case "resnet-18":
            from torchsid.models.resnet import ResNet18

            return ResNet18(num_classes=num_classes, in_channels=in_channels, width=width, stem="cifar")
        case "resnet-18-imagenet":
            from torchsid.models.resnet import ResNet18

            return ResNet18(num_classes=num_classes, in_channels=in_channels, width=width, stem="imagenet")
        case "vgg-11":
            from torchsid.models.vgg import VGG11

            return VGG11(num_classes=num_classes, in_channels=in_channels, width=width)
        case "vit-tiny":
            from torchsid.models.vit import ViTTiny

            return ViTTiny(num_classes=num_classes, in_channels=in_channels, image_size=image_size, width=width)
    raise AssertionError(f"classifier {name!r} is listed but cannot be built")
