import torch
import torch.nn.functional as F

from tests.heads.samples import CHANNELS, features
from torchsid.heads.attention import AttentionBody


def test_the_pooling_begins_as_the_mean() -> None:
    expected = F.layer_norm(features("tokens").mean(1), (CHANNELS,))
    torch.testing.assert_close(AttentionBody(CHANNELS)(features("tokens")), expected)


def test_the_formula() -> None:
    body, x = AttentionBody(CHANNELS), features("tokens")
    torch.nn.init.normal_(body.query.weight)
    pooled = F.scaled_dot_product_attention(body.query.weight.expand(len(x), 1, -1), x, x).squeeze(1)
    torch.testing.assert_close(body(x), F.layer_norm(pooled, (CHANNELS,)), atol=1e-5, rtol=1e-5)


def test_maps_are_read_as_tokens() -> None:
    body, x = AttentionBody(CHANNELS), features("maps")
    torch.nn.init.normal_(body.query.weight)
    torch.testing.assert_close(body(x), body(x.flatten(2).transpose(1, 2).contiguous()))
