"""What the bodies compute, by their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.heads.samples import CHANNELS, SHAPES, features
from torchsid import heads
from torchsid.heads.attention import AttentionBody
from torchsid.heads.conv import ConvBody
from torchsid.heads.cost import multiply_adds
from torchsid.heads.linear import LinearBody
from torchsid.heads.mlp import MLPBody
from torchsid.heads.pyramid import PyramidBody


@pytest.mark.parametrize("form", SHAPES)
def test_the_mean_is_over_the_positions_and_a_hidden_layer_reads_it(form: str) -> None:
    x = features(form)
    pooled = {2: lambda: x, 3: lambda: sum(x.unbind(1)) / 5, 4: lambda: x.flatten(2).sum(-1) / 144}[x.dim()]()
    torch.testing.assert_close(LinearBody(x)(x), pooled)
    body = MLPBody(x, hidden=5)
    torch.testing.assert_close(body(x), (pooled @ body.hidden.weight.T + body.hidden.bias).clamp(min=0))
    assert LinearBody(x).width == CHANNELS


def test_attention_begins_as_the_mean_and_follows_its_formula() -> None:
    x = features("tokens")
    body = AttentionBody(x)
    torch.testing.assert_close(body(x), F.layer_norm(x.mean(1), (CHANNELS,)))
    nn.init.normal_(body.query.weight)
    pooled = F.scaled_dot_product_attention(body.query.weight.expand(len(x), 1, -1), x, x).squeeze(1)
    torch.testing.assert_close(body(x), F.layer_norm(pooled, (CHANNELS,)), atol=1e-5, rtol=1e-5)
    maps = features("maps")
    torch.testing.assert_close(body(maps), body(maps.flatten(2).transpose(1, 2).contiguous()))


def test_the_convolution_follows_its_formula() -> None:
    body = ConvBody(features("maps"))
    made = F.conv2d(features("maps"), body.conv.weight, padding=1)
    mean, variance = made.mean((0, 2, 3), keepdim=True), made.var((0, 2, 3), keepdim=True, correction=0)
    expected = ((made - mean) / (variance + body.norm.eps).sqrt()).clamp(min=0).mean((2, 3))
    torch.testing.assert_close(body(features("maps")), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "widths"), [(32, [6, 12, 24]), (12, [6, 12]), (5, [6]), (4, [6]), (1, [6])])
def test_the_pyramid_halves_the_side_down_to_four_and_doubles_the_channels(side: int, widths: list[int]) -> None:
    x = torch.randn(2, 6, side, side)
    body = PyramidBody(x)
    assert [layer.out_channels for layer in body.layers if isinstance(layer, nn.Conv2d)] == widths
    assert body.layers(x).shape[2] == {32: 4, 12: 3, 5: 3, 4: 4, 1: 1}[side]
    assert body(x).shape == (2, body.width)


def test_convolutions_see_how_pixels_are_arranged() -> None:
    """Maps that agree in the mean of every 2x2 window, 4x4 window and so on, but not in the order of the pixels."""
    torch.manual_seed(0)
    x = torch.randn(3, 2, 16, 16)
    swapped = x.unflatten(3, (8, 2)).flip(4).flatten(3)
    for body in (PyramidBody(x).eval(), ConvBody(x).eval()):
        assert not torch.allclose(body(x), body(swapped), atol=1e-3)


def test_the_pyramid_meets_a_budget_by_larger_strides() -> None:
    maps, belief = torch.zeros(1, 8, 32, 32), torch.zeros(1, 4)
    whole = heads.create("pyramid", maps, 4)
    cost = multiply_adds(whole, maps, belief)
    torch.manual_seed(3)
    head = heads.create("pyramid", maps, 4, budget=cost - 1)
    assert [layer.stride[0] for layer in whole.body.layers if isinstance(layer, nn.Conv2d)] == [2, 2, 2]
    assert [layer.stride[0] for layer in head.body.layers if isinstance(layer, nn.Conv2d)] == [4, 2]
    assert multiply_adds(head, maps, belief) < cost
    torch.manual_seed(3)
    torch.testing.assert_close(head.body.state_dict(), PyramidBody(maps, factor=2).state_dict())


@pytest.mark.parametrize("kind", ["mlp-sr", "momentum"])
def test_the_heads_of_dgl_and_man_read_maps_as_small_as_the_budget_wants(kind: str) -> None:
    maps, later = torch.zeros(2, 8, 16, 16), [nn.Conv2d(8, 8, 3, 2, 1)]
    costs = [2**30]
    for _ in range(3):
        head = heads.create(kind, maps, 4, later=later, budget=costs[-1] - 1)
        costs.append(multiply_adds(head, maps, torch.zeros(2, 4)))
    assert costs == sorted(costs, reverse=True)
