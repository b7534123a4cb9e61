"""Names in state dicts: weights of torchvision and timm load, and so do the runs of today."""

import pytest
import torch
from torch import nn

from torchsid import models
from torchsid.models.classifiers.resnet_18 import ResNet18
from torchsid.models.classifiers.vgg_11 import VGG11
from torchsid.models.classifiers.vit_tiny import ViTTiny


def affine(*names: str) -> list[str]:
    return [f"{name}.{key}" for name in names for key in ("weight", "bias")]


def normalised(convolution: list[str], norm: str) -> list[str]:
    return [*convolution, *affine(norm), *(f"{norm}.{key}" for key in ("running_mean", "running_var", "num_batches_tracked"))]


def resnet18() -> list[str]:
    keys = normalised(["conv1.weight"], "bn1")
    for block in (f"layer{layer}.{index}" for layer in (1, 2, 3, 4) for index in (0, 1)):
        for index in (1, 2):
            keys += normalised([f"{block}.conv{index}.weight"], f"{block}.bn{index}")
        if block in ("layer2.0", "layer3.0", "layer4.0"):
            keys += normalised([f"{block}.downsample.0.weight"], f"{block}.downsample.1")
    return [*keys, *affine("fc")]


def vgg11_bn() -> list[str]:
    convolutions = (0, 4, 8, 11, 15, 18, 22, 25)
    features = [key for n in convolutions for key in normalised(affine(f"features.{n}"), f"features.{n + 1}")]
    return [*features, *affine("classifier")]


def vit(depth: int) -> list[str]:
    parts = [
        f"blocks.{n}.{part}" for n in range(depth) for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    ]
    return ["cls_token", "pos_embed", *affine("patch_embed.proj", *parts, "norm", "head")]


def block_mlp(depth: int) -> list[str]:
    return affine("stem", *(f"blocks.{n}.{part}" for n in range(depth) for part in ("norm", "linear1", "linear2")), "norm", "head")


SIMPLE_CNN = affine("0", "2", "5", "7", "12")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet-18", resnet18()),
        ("resnet-18-imagenet", resnet18()),
        ("vgg-11", vgg11_bn()),
        ("vit-tiny", vit(12)),
        ("mlp", block_mlp(8)),
        ("simple-cnn", [*(f"extractor.{name}" for name in SIMPLE_CNN), *affine("head")]),
    ],
)
def test_names_of_classifiers(name: str, names: list[str]) -> None:
    with torch.device("meta"):
        assert list(models.classifier(name, num_classes=10, in_channels=3, image_size=32).state_dict()) == names


@pytest.mark.parametrize(("name", "names"), [("simple-cnn", SIMPLE_CNN), ("mlp", affine("1", "3"))])
def test_names_of_extractors(name: str, names: list[str]) -> None:
    assert list(models.create(name, in_channels=1, image_size=8, feature_dim=4).state_dict()) == names


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def test_weights_of_torchvision_and_timm_fit() -> None:
    with torch.device("meta"):
        images = torch.empty(2, 3, 224, 224)
        resnet = ResNet18(images, 1000, "imagenet")
        features = VGG11(images, 10).features
        transformer = ViTTiny(images, 1000, 16)
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (resnet, features, transformer)]
    classifier_of_vgg = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert sizes == [11_689_512, 132_868_840 - classifier_of_vgg, 5_717_416]
    assert shapes(resnet)["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes(transformer)["pos_embed"] == (1, 197, 192)
    assert shapes(transformer)["blocks.11.attn.qkv.weight"] == (576, 192)
