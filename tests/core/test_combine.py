from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchsid.core.combine import COMBINERS, GradientCombiner, Mean, PCGrad, Sum, pcgrad_weights


def combined(new_combiner: Callable[[], GradientCombiner], gradients: list[Tensor]) -> Tensor:
    combiner = new_combiner()
    for gradient in gradients:
        combiner.add(gradient)
    return combiner.result()


def pcgrad_by_hand(gradients: list[Tensor]) -> Tensor:
    """Algorithm 1 of arXiv 2001.06782, with the other tasks in cyclic order."""
    depth, projected = len(gradients), []
    for i, gradient in enumerate(gradients):
        g = gradient.clone()
        for offset in range(1, depth):
            other = gradients[(i + offset) % depth]
            inner = (g * other).sum()
            if inner < 0:
                g = g - inner / (other * other).sum() * other
        projected.append(g)
    return torch.stack(projected).sum(0)


def stage_gradients(depth: int, seed: int, shape: tuple[int, ...] = (3, 2)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(depth)]


@given(depth=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_pcgrad_is_the_literal_loop(depth: int, seed: int) -> None:
    gradients = stage_gradients(depth, seed)
    torch.testing.assert_close(combined(PCGrad, gradients), pcgrad_by_hand(gradients), atol=1e-10, rtol=1e-10)


@given(depth=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_pcgrad_without_conflict_is_the_plain_sum(depth: int, seed: int) -> None:
    gradients = [gradient.abs() for gradient in stage_gradients(depth, seed)]
    torch.testing.assert_close(combined(PCGrad, gradients), combined(Sum, gradients))


def test_pcgrad_of_two_leaves_no_conflict_with_either() -> None:
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    expected = torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0])
    torch.testing.assert_close(combined(PCGrad, [first, second]), expected)


def test_pcgrad_of_opposite_gradients_is_zero() -> None:
    gradient = torch.randn(4, 3)
    torch.testing.assert_close(combined(PCGrad, [gradient, -gradient]), torch.zeros(4, 3))


@pytest.mark.parametrize("name", COMBINERS)
def test_zero_gradients(name: str) -> None:
    zeros = [torch.zeros(3, 2)] * 4
    assert torch.equal(combined(COMBINERS[name], zeros), zeros[0])


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_pcgrad_ignores_a_zero_gradient_and_the_scale(scale: float) -> None:
    gradients = [scale * gradient for gradient in stage_gradients(5, seed=3)]
    with_zero = [*gradients, torch.zeros_like(gradients[0])]
    torch.testing.assert_close(combined(PCGrad, with_zero) / scale, pcgrad_by_hand(gradients) / scale)


def test_pcgrad_weights_of_orthogonal_gradients_are_one() -> None:
    torch.testing.assert_close(pcgrad_weights(torch.diag(torch.tensor([1.0, 4.0, 9.0]))), torch.ones(3))


@given(depth=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_sum_and_mean(depth: int, seed: int) -> None:
    gradients = stage_gradients(depth, seed)
    torch.testing.assert_close(combined(Sum, gradients), torch.stack(gradients).sum(0))
    torch.testing.assert_close(combined(Mean, gradients), torch.stack(gradients).mean(0))


@pytest.mark.parametrize("name", COMBINERS)
def test_the_stages_gradients_are_left_alone(name: str) -> None:
    gradients = stage_gradients(4, seed=5)
    before = [gradient.clone() for gradient in gradients]
    combined(COMBINERS[name], gradients)
    assert all(map(torch.equal, gradients, before))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", COMBINERS)
def test_shape_and_precision_are_those_of_the_features(name: str, dtype: torch.dtype) -> None:
    result = combined(COMBINERS[name], [torch.randn(2, 3, 4).to(dtype) for _ in range(3)])
    assert (result.shape, result.dtype) == ((2, 3, 4), dtype)
