import inspect

import pytest
import torch
from torch import nn

from torchsid import models
from torchsid.errors import ConfigError
from torchsid.models.block_mlp import BlockMLP
from torchsid.models.resnet import ResNet18
from torchsid.models.simple_cnn import SimpleCNNClassifier
from torchsid.models.vgg import VGG11
from torchsid.models.vit import ViTTiny

HOME = {
    "simple-cnn": SimpleCNNClassifier,
    "mlp": BlockMLP,
    "resnet-18": ResNet18,
    "resnet-18-imagenet": ResNet18,
    "vgg-11": VGG11,
    "vit-tiny": ViTTiny,
}
PARAMETERS = {  # ten classes, 32 pixels in colour
    "simple-cnn": 258_634,
    "mlp": 1_846_538,
    "resnet-18": 11_173_962,
    "resnet-18-imagenet": 11_181_642,
    "vgg-11": 9_231_114,
    "vit-tiny": 5_362_762,
}


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", models.classifier_names())
def test_a_name_stands_for_a_network(name: str) -> None:
    model = models.classifier(name, num_classes=10, in_channels=3, image_size=32)
    assert type(model) is HOME[name]
    assert size(model) == PARAMETERS[name]


@pytest.mark.parametrize("name", models.classifier_names())
def test_without_a_width_it_is_the_networks_own(name: str) -> None:
    own = inspect.signature(HOME[name]).parameters["width"].default
    default = models.classifier(name, num_classes=10, in_channels=3, image_size=32)
    explicit = models.classifier(name, num_classes=10, in_channels=3, image_size=32, width=own)
    assert {k: v.shape for k, v in default.state_dict().items()} == {k: v.shape for k, v in explicit.state_dict().items()}


@pytest.mark.parametrize("name", models.classifier_names())
def test_width_scales_the_network(name: str) -> None:
    narrow = size(models.classifier(name, num_classes=10, in_channels=3, image_size=32, width=64))
    wide = size(models.classifier(name, num_classes=10, in_channels=3, image_size=32, width=128))
    assert narrow < wide


def test_the_stem_follows_the_name() -> None:
    small = models.classifier("resnet-18", num_classes=2, in_channels=1, image_size=8, width=4)
    large = models.classifier("resnet-18-imagenet", num_classes=2, in_channels=1, image_size=8, width=4)
    assert small.get_parameter("conv1.weight").shape == (4, 1, 3, 3)
    assert large.get_parameter("conv1.weight").shape == (4, 1, 7, 7)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown classifier 'resnet18' \(did you mean 'resnet-18'\?\); allowed: mlp, resnet-18,"):
        models.classifier("resnet18", num_classes=10, in_channels=3, image_size=32)


@pytest.mark.parametrize(
    ("name", "image_size", "width", "problem"),
    [
        ("simple-cnn", 3, None, "image_size=3 must be 4 or more, since two poolings halve the image"),
        ("vgg-11", 31, None, "image_size=31 must be 32 or more, since five poolings halve the image"),
        ("vit-tiny", 28, None, "image_size=28 must be a multiple of 8, since the image is cut into 8 x 8 patches"),
        ("vit-tiny", 0, None, "image_size=0 must be a multiple of 8, since the image is cut into 8 x 8 patches"),
        ("vit-tiny", 32, 100, "width=100 must be a multiple of 64, since every attention head is 64 wide"),
        ("resnet-18", 0, None, "image_size=0 must be 1 or more"),
        ("mlp", 32, 0, "width=0 must be 1 or more"),
    ],
)
def test_what_a_network_cannot_take_is_refused(name: str, image_size: int, width: int | None, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        models.classifier(name, num_classes=10, in_channels=3, image_size=image_size, width=width)
    assert caught.value.problems == (problem,)
    assert f"classifier {name!r}" in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        models.classifier("vit-tiny", num_classes=0, in_channels=-1, image_size=30, width=32)
    assert [problem.split("=")[0] for problem in caught.value.problems] == ["num_classes", "in_channels", "image_size", "width"]


@pytest.mark.parametrize(("name", "image_size"), [("simple-cnn", 4), ("mlp", 1), ("vgg-11", 32), ("vit-tiny", 8), ("resnet-18", 1)])
def test_the_smallest_image_is_taken(name: str, image_size: int) -> None:
    model = models.classifier(name, num_classes=3, in_channels=1, image_size=image_size, width=64)
    assert model(torch.randn(2, 1, image_size, image_size)).shape == (2, 3)
