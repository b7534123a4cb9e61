"""Coordinate descent: the error is that of its definition, never rises, and no coordinate alone can do better."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchsid.compress.comq import comq
from torchsid.compress.grid import nearest

bits = st.sampled_from([2, 3, 4, 8])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Weights `[C, d]` and inputs `[n, d]`, correlated, some of them always 0, at times fewer of them than coordinates."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    channels, size, count = draw(st.integers(1, 4)), draw(st.integers(1, 80)), draw(st.integers(1, 60))
    x = torch.randn(count, size, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(size, size, generator=generator, dtype=torch.float64)
    x[:, torch.rand(size, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    return torch.randn(channels, size, generator=generator, dtype=torch.float64), x


@given(problems(), bits, st.integers(1, 4))
@settings(max_examples=60)
def test_the_error_never_rises_and_is_that_of_the_weights(problem: tuple[Tensor, Tensor], bits: int, sweeps: int) -> None:
    w, x = problem
    found, errors = comq(w, x.T @ x, bits, sweeps=sweeps)

    def error(q: Tensor) -> float:
        return float(((w - q) @ x.T).square().sum())

    room = 1e-9 * (1 + float((w @ x.T).square().sum()))
    assert len(errors) == sweeps + 1
    assert all(after <= before + room for before, after in pairwise(errors))
    rounded = nearest(w, bits)
    assert abs(errors[0] - error(rounded.grid.values(rounded.codes.double()))) <= room
    assert abs(errors[-1] - error(found.grid.values(found.codes.double()))) <= room


@given(problems(), bits)
@settings(max_examples=30)
def test_weights_of_inputs_that_are_always_zero_stay_rounded(problem: tuple[Tensor, Tensor], bits: int) -> None:
    w, x = problem
    x[:, ::2] = 0
    found, _ = comq(w, x.T @ x, bits)
    assert found.grid.values(found.codes.double()).isfinite().all()
    assert (found.codes[:, ::2] == found.grid.nearest(w)[:, ::2]).all()


def test_in_the_end_no_single_coordinate_can_do_better() -> None:
    torch.manual_seed(0)
    w, x = torch.randn(2, 9, dtype=torch.float64), torch.randn(40, 9, dtype=torch.float64) @ torch.randn(9, 9, dtype=torch.float64)
    found, errors = comq(w, x.T @ x, 3, sweeps=40)
    assert errors[-1] < 0.9 * errors[0]
    codes = found.codes.double()
    for c in range(2):
        for i in range(9):
            for code in range(8):
                other = codes.clone()
                other[c, i] = code
                assert ((w - found.grid.values(other)) @ x.T).square().sum() >= errors[-1] - 1e-9


def test_a_block_of_coordinates_is_swept_as_one_by_one() -> None:
    """Against the published loop over residuals, whose order and grid are the same: one sweep from the full-precision weights."""
    torch.manual_seed(1)
    w, x = torch.randn(3, 150, dtype=torch.float64), torch.randn(300, 150, dtype=torch.float64)
    x = x + x[:, :1]
    start = nearest(w, 3).grid
    expected = w.clone()
    for c in range(3):
        u = torch.zeros(300, dtype=torch.float64)
        for i in (x.norm(dim=0) * w[c].abs()).argsort(descending=True):
            column = x[:, i]
            target = (column * w[c, i] + u) @ column / (column @ column)
            scale, zero = start.scale[c, 0], start.zero[c, 0]
            expected[c, i] = scale * (zero + (target / scale - zero).round().clamp(0, 7))
            u += column * (w[c, i] - expected[c, i])
    found, _ = comq(w, x.T @ x, 3, sweeps=1)
    assert (found.codes == start.nearest(expected)).all()
