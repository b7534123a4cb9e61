import pytest
import torch
from torch import fx

from torchsid.errors import ConfigError
from torchsid.models.vit import Attention, Block, ViTTiny

IMAGES = torch.empty(2, 3, 32, 32)


def test_an_image_is_64_patches_row_by_row() -> None:
    model = ViTTiny(torch.empty(2, 3, 16, 16), 10, depth=1)
    x = torch.randn(2, 3, 16, 16)
    tokens = model.patch_embed(x)
    assert tokens.shape == (2, 64, 192)
    patch = x[:, :, 2:4, 6:8].flatten(1)  # second row, fourth column
    proj = model.patch_embed.proj
    torch.testing.assert_close(tokens[:, 8 + 3], patch @ proj.weight.flatten(1).T + proj.bias)


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
    model = ViTTiny(IMAGES, 10, width=64, depth=0)  # without blocks, the class token sees no patch
    token = model.norm(model.cls_token[:, 0] + model.pos_embed[:, 0])
    logits = model(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(logits, model.head(token).expand(2, 10))


def test_dropout_is_traced_and_off_in_evaluation() -> None:
    model = ViTTiny(IMAGES, 10, width=64, depth=2, dropout=0.5)
    traced = fx.symbolic_trace(model)
    x = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.equal(traced(x), expected)
    assert not torch.equal(traced(x), expected)
    traced.eval()
    assert torch.equal(traced(x), model.eval()(x))


def test_heads_and_patches_can_be_chosen() -> None:
    model = ViTTiny(torch.empty(2, 3, 28, 28), 10, patch_size=7, width=40, heads=5, depth=1, mlp_ratio=2.0)
    assert model.pos_embed.shape == (1, 17, 40)
    assert model.blocks[0].mlp.fc1.out_features == 80
    assert model(torch.randn(2, 3, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("chosen", [{}, {"patch_size": 5, "heads": 3}])
def test_what_does_not_divide_is_refused_at_once(chosen: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        ViTTiny(torch.empty(2, 3, 28, 28), 10, width=100, **chosen)
    assert [problem.partition("=")[0] for problem in caught.value.problems] == ["image_size", "width"]
