"""Names in state dicts: weights of torchvision and timm load, and so do the runs of today."""

import pytest
import torch
from torch import nn

from torchsid import models
from torchsid.models.classifiers.resnet_18 import ResNet18
from torchsid.models.classifiers.resnet_50 import resnet_50
from torchsid.models.classifiers.vgg_11 import VGG11
from torchsid.models.classifiers.vit_tiny import ViTTiny


def affine(*names: str) -> list[str]:
    return [f"{name}.{key}" for name in names for key in ("weight", "bias")]


def normalised(convolution: list[str], norm: str) -> list[str]:
    return [*convolution, *affine(norm), *(f"{norm}.{key}" for key in ("running_mean", "running_var", "num_batches_tracked"))]


def resnet(blocks: tuple[int, ...], convolutions: int, first: int) -> list[str]:
    """Of layers of so many blocks, of so many convolutions each; the first block of layer `first` and later ones has a shortcut."""
    keys = normalised(["conv1.weight"], "bn1")
    for layer, count in enumerate(blocks, 1):
        for block in range(count):
            parts = [(f"conv{index}.weight", f"bn{index}") for index in range(1, convolutions + 1)]
            parts += [("downsample.0.weight", "downsample.1")] if layer >= first and not block else []
            for convolution, norm in parts:
                keys += normalised([f"layer{layer}.{block}.{convolution}"], f"layer{layer}.{block}.{norm}")
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
        ("resnet-18", resnet((2, 2, 2, 2), 2, 2)),
        ("resnet-18-imagenet", resnet((2, 2, 2, 2), 2, 2)),
        ("resnet-50", resnet((3, 4, 6, 3), 3, 1)),
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
        small, large = ResNet18(images, 1000, "imagenet"), resnet_50(images, 1000)
        features = VGG11(images, 10).features
        transformer = ViTTiny(images, 1000, 16)
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (small, large, features, transformer)]
    classifier_of_vgg = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert sizes == [11_689_512, 25_557_032, 132_868_840 - classifier_of_vgg, 5_717_416]
    assert shapes(small)["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes(large)["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert large.layer2[0].conv2.stride == (2, 2)  # as in v1.5
    assert shapes(transformer)["pos_embed"] == (1, 197, 192)
    assert shapes(transformer)["blocks.11.attn.qkv.weight"] == (576, 192)
