"""What the blocks of the classifiers compute, and how their signals begin."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchsid.heads.transformer import Attention, Block
from torchsid.models import trunk_for
from torchsid.models.classifiers.mlp import MLP, MLPBlock
from torchsid.models.classifiers.resnet_18 import ResNet18
from torchsid.models.classifiers.tiny_cnn import tiny_cnn
from torchsid.models.classifiers.vgg_11 import VGG11
from torchsid.models.classifiers.vit_tiny import ViTTiny
from torchsid.models.resnet import BasicBlock, Bottleneck

IMAGES = torch.empty(2, 3, 32, 32)


def test_a_block_is_the_identity_plus_two_linear_layers() -> None:
    block = MLPBlock(6, depth=1)
    x = torch.randn(4, 6)
    branch = block.linear2(block.linear1(F.layer_norm(x, (6,))).clamp(min=0))
    torch.testing.assert_close(block(x), x + branch)


def test_128_blocks_change_neither_signal_nor_gradient_much() -> None:
    model = MLP(torch.empty(2, 3, 8, 8), 10, 128, width=64)
    x = torch.randn(32, 3, 8, 8)
    first = model.stem(model.flatten(x))
    last = model.blocks(first)
    assert 0.8 < first.square().mean().sqrt() < 1.25
    assert 1 < last.square().mean().sqrt() / first.square().mean().sqrt() < 2  # √2: depth · 1/depth is added to a variance of 1
    F.cross_entropy(model(x), torch.arange(32) % 10).backward()
    gradients = torch.stack([block.linear2.weight.grad.norm() for block in model.blocks])
    assert gradients.max() / gradients.min() < 4


@pytest.mark.parametrize(("stem", "sides"), [("cifar", [32, 16, 8, 4]), ("imagenet", [8, 4, 2, 1])])
def test_the_stem_decides_how_large_the_maps_are(stem: str, sides: list[int]) -> None:
    model = ResNet18(IMAGES, 10, stem, width=4)
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    model(torch.randn(2, 3, 32, 32))
    assert seen == [(2, channels, side, side) for channels, side in zip([4, 8, 16, 32], sides, strict=True)]


def test_a_resnet_starts_with_he_fan_out_and_a_vgg_keeps_the_size_of_the_signal() -> None:
    for name, module in ResNet18(IMAGES, 10, width=32).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            torch.testing.assert_close(module.weight.std(), torch.tensor(2 / fan_out).sqrt(), rtol=0.1, atol=0, msg=name)
    features = VGG11(IMAGES, 10, width=16).features(torch.randn(64, 3, 32, 32))
    assert features.shape == (64, 128, 1, 1)
    assert 0.3 < features.square().mean().sqrt() < 3


def test_a_residual_block_is_the_shortcut_plus_two_or_three_convolutions() -> None:
    block = BasicBlock(3, 6, stride=2).eval()
    x = torch.randn(2, 3, 8, 8)
    branch = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
    shortcut = block.downsample[1](block.downsample[0](x))
    torch.testing.assert_close(block(x), (branch + shortcut).clamp(min=0))
    neck = Bottleneck(3, 2, stride=2).eval()
    branch = neck.bn2(neck.conv2(neck.bn1(neck.conv1(x)).clamp(min=0))).clamp(min=0)
    torch.testing.assert_close(neck(x), (neck.bn3(neck.conv3(branch)) + neck.downsample(x)).clamp(min=0))
    same = BasicBlock(3, 3)  # whose shortcut is the identity
    nn.init.zeros_(same.bn2.weight)
    assert torch.equal(same(x), x.clamp(min=0))


# The vision transformer


def test_an_image_is_64_patches_row_by_row() -> None:
    model = ViTTiny(torch.empty(2, 3, 16, 16), 10, depth=1)
    x, seen = torch.randn(2, 3, 16, 16), []
    model.pos_drop.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] - model.pos_embed))
    model(x)
    assert seen[0].shape == (2, 1 + 64, 192)
    patch, proj = x[:, :, 2:4, 6:8].flatten(1), model.patch_embed.proj  # second row, fourth column
    torch.testing.assert_close(seen[0][:, 1 + 8 + 3], patch @ proj.weight.flatten(1).T + proj.bias)


def test_attention_is_softmax_of_the_scaled_products() -> None:
    attention = Attention(12, heads=3, dropout=0.0).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = attention.qkv(x).split(12, dim=-1)
    heads = []
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)  # the qkv weights are sorted by q, k, v, then by head
        weights = (q[..., own] @ k[..., own].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ v[..., own])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, -1)))


def test_a_block_normalises_before_attention_and_mlp() -> None:
    block = Block(8, heads=2, hidden=16, dropout=0.0)
    x = torch.randn(2, 5, 8)
    attended = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block(x), attended + block.mlp(block.norm2(attended)))


def test_the_class_token_answers() -> None:
    model = ViTTiny(IMAGES, 10, depth=0, width=64)  # without blocks, the class token sees no patch
    token = model.norm(model.cls_token[:, 0] + model.pos_embed[:, 0])
    torch.testing.assert_close(model(torch.randn(2, 3, 32, 32)), model.head(token).expand(2, 10))


def test_heads_and_patches_can_be_chosen() -> None:
    model = ViTTiny(torch.empty(2, 3, 28, 28), 10, patch_size=7, width=64, heads=4, depth=1, mlp_ratio=2.0)
    assert model.pos_embed.shape == (1, 17, 64)
    assert model.blocks[0].mlp.fc1.out_features == 128
    assert model(torch.randn(2, 3, 28, 28)).shape == (2, 10)
    for patch_size, multiple in ((None, 8), (5, 5)):
        with pytest.raises(ValueError, match=f"image_size=28 must be a multiple of {multiple}"):
            ViTTiny(torch.empty(2, 3, 28, 28), 10, patch_size)


def test_positions_of_a_fixed_number_share_all_but_the_last_layer() -> None:
    torch.manual_seed(0)
    slots = trunk_for(tiny_cnn, IMAGES, 2, (5,))
    torch.manual_seed(0)
    flat = tiny_cnn(IMAGES, 10)
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(slots(x), flat(x).view(3, 5, 2))
    torch.manual_seed(0)
    assert torch.equal(trunk_for(tiny_cnn, IMAGES, 10, ())(x), flat(x))
