import pytest
import torch
from torch import nn

from torchsid.models.resnet import BasicBlock, ResNet18


def normalised(convolution: str, norm: str) -> list[str]:
    return [
        f"{convolution}.weight",
        *(f"{norm}.{key}" for key in ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]),
    ]


def torchvision_names() -> list[str]:
    """The keys of torchvision's `resnet18().state_dict()`, in their order."""
    keys = normalised("conv1", "bn1")
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            prefix = f"layer{layer}.{block}"
            keys += normalised(f"{prefix}.conv1", f"{prefix}.bn1") + normalised(f"{prefix}.conv2", f"{prefix}.bn2")
            if layer > 1 and block == 0:
                keys += normalised(f"{prefix}.downsample.0", f"{prefix}.downsample.1")
    return [*keys, "fc.weight", "fc.bias"]


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_names_are_torchvisions(stem: str) -> None:
    assert list(ResNet18(num_classes=10, width=4, stem=stem).state_dict()) == torchvision_names()


def test_torchvision_weights_fit_the_imagenet_stem() -> None:
    model = ResNet18(num_classes=1000, stem="imagenet")
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes["layer4.1.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["fc.weight"] == (1000, 512)


@pytest.mark.parametrize(("stem", "sides"), [("cifar", [32, 16, 8, 4]), ("imagenet", [8, 4, 2, 1])])
def test_the_stem_decides_how_large_the_maps_are(stem: str, sides: list[int]) -> None:
    model = ResNet18(num_classes=10, width=4, stem=stem)
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    model(torch.randn(2, 3, 32, 32))
    assert seen == [(2, channels, side, side) for channels, side in zip([4, 8, 16, 32], sides, strict=True)]


def test_it_starts_with_he_fan_out() -> None:
    torch.manual_seed(0)
    for name, module in ResNet18(num_classes=10).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            torch.testing.assert_close(module.weight.std(), torch.tensor(2 / fan_out).sqrt(), rtol=0.1, atol=0, msg=name)


def test_a_block_is_the_shortcut_plus_two_convolutions() -> None:
    block = BasicBlock(3, 6, stride=2).eval()
    x = torch.randn(2, 3, 8, 8)
    branch = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
    shortcut = block.downsample[1](block.downsample[0](x))
    torch.testing.assert_close(block(x), (branch + shortcut).clamp(min=0))
    assert block(x).shape == (2, 6, 4, 4)


def test_where_the_shape_stays_the_shortcut_is_the_identity() -> None:
    block = BasicBlock(3, 3)
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(block(x), x.clamp(min=0))


def test_an_unknown_stem_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown stem 'cifar10' \(did you mean 'cifar'\?\); allowed: cifar, imagenet"):
        ResNet18(num_classes=10, stem="cifar10")
