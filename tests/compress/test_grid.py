"""A channel's grid: it spans the weights, and rounding moves none by more than it must."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.compress.grid import BITS, Grid, nearest

weights = st.integers(0, 2**32 - 1).map(lambda seed: torch.randn(3, 7, generator=torch.Generator().manual_seed(seed)).double())


@given(weights, st.sampled_from(BITS))
def test_a_code_is_that_of_the_nearest_value(weight: torch.Tensor, bits: int) -> None:
    codes, grid = nearest(weight, bits)
    values = grid.values(torch.arange(2.0**bits).expand(3, -1))  # [C, 2^b]
    distance = (weight.unsqueeze(-1) - values.unsqueeze(1)).abs()
    own = distance.gather(-1, codes.long().unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(own, distance.amin(-1))


@given(weights, st.sampled_from(BITS))
def test_no_weight_is_moved_by_more_than_a_step(weight: torch.Tensor, bits: int) -> None:
    codes, grid = nearest(weight, bits)
    assert ((grid.values(codes.double()) - weight).abs() <= grid.scale * (1 + 1e-9)).all()  # half a step, and half of the zero's
    assert (grid.scale.squeeze(1) * (2**bits - 1) - (weight.amax(1) - weight.amin(1))).abs().max() < 1e-9


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_equal_weights_are_on_their_grid(value: float) -> None:
    codes, grid = nearest(torch.full((2, 5), value), 2)
    torch.testing.assert_close(grid.values(codes.float()), torch.full((2, 5), value))
    assert isinstance(grid, Grid)
