import pytest
import torch
from torch import nn

from torchsid.models.classifiers.resnet_18 import BasicBlock, ResNet18

IMAGES = torch.empty(2, 3, 32, 32)


@pytest.mark.parametrize(("stem", "sides"), [("cifar", [32, 16, 8, 4]), ("imagenet", [8, 4, 2, 1])])
def test_the_stem_decides_how_large_the_maps_are(stem: str, sides: list[int]) -> None:
    model = ResNet18(IMAGES, 10, stem, width=4)
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    model(torch.randn(2, 3, 32, 32))
    assert seen == [(2, channels, side, side) for channels, side in zip([4, 8, 16, 32], sides, strict=True)]
    with pytest.raises(ValueError, match="'cifar'"):
        ResNet18(IMAGES, 10, "cifar10")


def test_it_starts_with_he_fan_out() -> None:
    for name, module in ResNet18(IMAGES, 10, width=32).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            torch.testing.assert_close(module.weight.std(), torch.tensor(2 / fan_out).sqrt(), rtol=0.1, atol=0, msg=name)


def test_a_block_is_the_shortcut_plus_two_convolutions() -> None:
    block = BasicBlock(3, 6, stride=2).eval()
    x = torch.randn(2, 3, 8, 8)
    branch = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
    shortcut = block.downsample[1](block.downsample[0](x))
    torch.testing.assert_close(block(x), (branch + shortcut).clamp(min=0))
    same = BasicBlock(3, 3)  # whose shortcut is the identity
    nn.init.zeros_(same.bn2.weight)
    assert torch.equal(same(x), x.clamp(min=0))
