import torch
import torch.nn.functional as F

from tests.heads.samples import CHANNELS, features
from torchsid.heads.conv import ConvBody


def test_the_formula() -> None:
    body = ConvBody(CHANNELS)
    made = F.conv2d(features("maps"), body.conv.weight, padding=1)
    mean, variance = made.mean((0, 2, 3), keepdim=True), made.var((0, 2, 3), keepdim=True, correction=0)
    expected = ((made - mean) / (variance + body.norm.eps).sqrt()).clamp(min=0).mean((2, 3))
    torch.testing.assert_close(body(features("maps")), expected, atol=1e-5, rtol=1e-5)


def test_positions_count() -> None:
    """Unlike the mean, a convolution sees how the pixels of a map are arranged."""
    body, x = ConvBody(CHANNELS).eval(), features("maps")
    shuffled = x.flatten(2)[..., torch.randperm(144)].view_as(x)
    assert not torch.allclose(body(x), body(shuffled), atol=1e-3)
