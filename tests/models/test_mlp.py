import torch
from torch.nn import functional as F

from torchsid.models.classifiers.mlp import MLP, MLPBlock


def test_a_block_is_the_identity_plus_two_linear_layers() -> None:
    block = MLPBlock(6, depth=1)
    x = torch.randn(4, 6)
    branch = block.linear2(block.linear1(F.layer_norm(x, (6,))).clamp(min=0))
    torch.testing.assert_close(block(x), x + branch)


def test_256_blocks_change_neither_signal_nor_gradient_much() -> None:
    model = MLP(torch.empty(2, 3, 8, 8), 10, 256, width=64)
    x = torch.randn(32, 3, 8, 8)
    first = model.stem(model.flatten(x))
    last = model.blocks(first)
    assert 0.8 < first.square().mean().sqrt() < 1.25
    assert 1 < last.square().mean().sqrt() / first.square().mean().sqrt() < 2  # √2: depth · 1/depth is added to a variance of 1
    F.cross_entropy(model(x), torch.arange(32) % 10).backward()
    gradients = torch.stack([block.linear2.weight.grad.norm() for block in model.blocks])
    assert gradients.max() / gradients.min() < 4
