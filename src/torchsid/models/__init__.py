"""Extractors and classifiers by name. What lists them needs no torch; `create` and `classifier` build the module.

An extractor maps images to features, for a shared cascade; a classifier is a whole network from images to logits, for a staged
cascade or for backpropagation.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from torchsid.errors import unknown_name
from torchsid.models.classifiers import CLASSIFIERS, classifier, classifier_names

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CLASSIFIERS", "DESCRIPTIONS", "classifier", "classifier_names", "create", "names"]

DESCRIPTIONS = {
    "simple-cnn": "the paper's extractor: four 3x3 convolutions, two poolings, global average, linear",
    "mlp": "two linear layers on the flattened image",
}
_HOME = {"simple-cnn": ("simple_cnn", "SimpleCNN"), "mlp": ("mlp", "MLP")}


class _Extractor(Protocol):
    def __call__(self, *, in_channels: int, image_size: int, feature_dim: int) -> nn.Module: ...


def names() -> tuple[str, ...]:
    """Return the names of the extractors."""
    return tuple(DESCRIPTIONS)


def create(name: str, *, in_channels: int, image_size: int, feature_dim: int) -> nn.Module:
    """Build an extractor that maps images `[B, in_channels, image_size, image_size]` to features `[B, feature_dim]`.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in _HOME:
        raise ValueError(unknown_name("extractor", name, _HOME))
    module, symbol = _HOME[name]
    extractor: _Extractor = getattr(import_module(f"torchsid.models.{module}"), symbol)
    return extractor(in_channels=in_channels, image_size=image_size, feature_dim=feature_dim)
