"""Networks by name, in three folders that are registries: a file is an entry.

* `extractors/`: from a sample to features `[B, ..., F]`, for a shared cascade;
* `classifiers/`: whole networks from a sample to logits `[B, ..., C]`, to be cut into stages, or for backpropagation;
* `networks/`: what `model.network` makes of them: a shared cascade, a cut classifier, or a plain network.

Listing them needs no torch. An entry is called with an example, of which only shape and dtype count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from inspect import Parameter, signature
from math import prod
from typing import TYPE_CHECKING

from torchsid.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from torchsid.core.cascade import Positions

EXTRACTORS = Registry("torchsid.models.extractors", "extractor")
CLASSIFIERS = Registry(
    "torchsid.models.classifiers",
    "classifier",
    families=(
        "torchsid.models.hugging_face:transformers",
        "torchsid.models.image_libraries:timm",
        "torchsid.models.image_libraries:torchvision",
    ),
)
NETWORKS = Registry("torchsid.models.networks", "network")

names = EXTRACTORS.names
classifier_names = CLASSIFIERS.names

__all__ = [
    "CLASSIFIERS",
    "EXTRACTORS",
    "NETWORKS",
    "classifier",
    "classifier_names",
    "create",
    "names",
    "synthetic_names",
    "trunk_for",
]


def synthetic_names() -> tuple[str, ...]:
    """Return the classifiers that can be timed and planned without data: those of images and tokens, which are easily made up."""
    return tuple(name for name, (task,) in CLASSIFIERS.attributes("task").items() if task in (None, "text", "language"))


def create(name: str, *, in_channels: int, image_size: int, feature_dim: int) -> nn.Module:
    """Build an extractor that maps images `[B, in_channels, image_size, image_size]` to features `[B, feature_dim]`.

    Raises:
        ConfigError: the name is unknown.
        ValueError: the extractor cannot take such images.
    """
    module: nn.Module = EXTRACTORS.load(name)(_images(in_channels, image_size), feature_dim=feature_dim)
    return module


def classifier(name: str, *, num_classes: int, in_channels: int, image_size: int, width: int | None = None) -> nn.Module:
    """Build a classifier that maps images `[B, in_channels, image_size, image_size]` to logits `[B, num_classes]`.

    Args:
        name: one of `classifier_names()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: side of the images in pixels.
        width: scales the whole network: features of `simple-cnn` and `mlp`, first channels of a ResNet or VGG, tokens of a ViT.
            None is the network's own.

    Raises:
        ConfigError: the name is unknown.
        ValueError: the network cannot take such images or such a width; all problems at once.
    """
    settings = {} if width is None else {"width": width}
    module: nn.Module = CLASSIFIERS.load(name)(_images(in_channels, image_size), num_classes, **settings)
    return module


def trunk_for(trunk: Callable[..., nn.Module], example: Tensor, num_classes: int, positions: Positions) -> nn.Module:
    """Return a whole classifier for inputs like `example`, `trunk(example, num_classes)`.

    One whose third parameter is `positions` is told where a sample's beliefs are. Of any other a fixed number of positions, such as
    the tasks of a sequence, share all but the last layer: it has outputs for all of them.
    """
    from torch import nn

    third = list(signature(trunk).parameters.values())[2:3]
    asks = bool(third) and third[0].name == "positions" and third[0].kind is Parameter.POSITIONAL_OR_KEYWORD
    if asks:
        return trunk(example, num_classes, positions)
    if positions == "tokens" or not positions:
        return trunk(example, num_classes)
    slots = nn.Unflatten(-1, (*positions, num_classes))
    return nn.Sequential(OrderedDict(trunk=trunk(example, num_classes * prod(positions)), slots=slots))


def _images(in_channels: int, image_size: int) -> object:
    import torch

    return torch.empty(2, in_channels, image_size, image_size, device="meta")
