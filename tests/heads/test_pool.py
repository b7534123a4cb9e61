import pytest
import torch

from tests.heads.samples import CHANNELS, SHAPES, features
from torchsid.heads.pool import MeanPool, channels, describe, shrink


@pytest.mark.parametrize("form", SHAPES)
def test_the_mean_is_over_the_positions(form: str) -> None:
    x = features(form)
    expected = {2: lambda: x, 3: lambda: sum(x.unbind(1)) / 5, 4: lambda: x.flatten(2).sum(-1) / 144}[x.dim()]()
    torch.testing.assert_close(MeanPool(CHANNELS)(x), expected)


@pytest.mark.parametrize("form", SHAPES)
def test_channels(form: str) -> None:
    assert channels(features(form)) == CHANNELS


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 8, 4, 5), "maps [B, 8, 4, 5]"),
        ((3, 8, 4), "tokens [B, 8, 4]"),
        ((3, 8), "vectors [B, 8]"),
        ((3,), "features of rank 1, [B]"),
        ((), "features of rank 0, []"),
    ],
)
def test_description(shape: tuple[int, ...], expected: str) -> None:
    assert describe(torch.zeros(shape)) == expected


def test_shrinking_averages() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(shrink(x, 2), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert shrink(x, 1) is x


def test_a_window_over_the_edge_averages_what_is_inside() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    torch.testing.assert_close(shrink(x, 2), torch.tensor([[[[2.0, 3.5], [6.5, 8.0]]]]))
