import pytest
import torch
from torch import nn

from torchsid import heads
from torchsid.heads.cost import multiply_adds
from torchsid.heads.pyramid import PyramidBody


@pytest.mark.parametrize(("side", "widths"), [(32, [6, 12, 24]), (12, [6, 12]), (8, [6]), (5, [6]), (4, [6]), (1, [6])])
def test_it_halves_the_side_down_to_four_and_doubles_the_channels(side: int, widths: list[int]) -> None:
    body = PyramidBody(6, side)
    assert [layer.out_channels for layer in body.layers if isinstance(layer, nn.Conv2d)] == widths
    assert body.layers(torch.randn(2, 6, side, side)).shape[2:] == torch.Size([min(side, 4) if side != 12 and side != 5 else 3] * 2)
    assert body(torch.randn(2, 6, side, side)).shape == (2, body.width)


def test_what_a_mean_over_windows_loses_is_seen() -> None:
    """Maps that agree in the mean of every 2x2 window, 4x4 window and so on, but not in the order of the pixels."""
    torch.manual_seed(0)
    body, x = PyramidBody(2, 16).eval(), torch.randn(3, 2, 16, 16)
    swapped = x.unflatten(3, (8, 2)).flip(4).flatten(3)
    assert not torch.allclose(body(x), body(swapped), atol=1e-3)


def test_a_budget_is_met_by_larger_strides() -> None:
    maps = torch.empty(1, 8, 32, 32)
    whole = heads.create("pyramid", maps, 4)
    cost = multiply_adds(whole, torch.zeros(1, 8, 32, 32), torch.zeros(1, 4))
    head = heads.create("pyramid", maps, 4, budget=cost - 1)
    assert [layer.stride[0] for layer in whole.body.layers if isinstance(layer, nn.Conv2d)] == [2, 2, 2]
    assert [layer.stride[0] for layer in head.body.layers if isinstance(layer, nn.Conv2d)] == [4, 2]
    assert multiply_adds(head, torch.zeros(1, 8, 32, 32), torch.zeros(1, 4)) < cost


def test_a_seed_gives_the_same_weights_whatever_was_tried_before() -> None:
    torch.manual_seed(3)
    fits = PyramidBody(8, 32, stride=4)
    torch.manual_seed(3)
    head = heads.create("pyramid", torch.empty(1, 8, 32, 32), 4, budget=90_000)
    torch.testing.assert_close(head.body.state_dict(), fits.state_dict())
