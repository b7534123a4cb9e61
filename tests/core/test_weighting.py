"""Ignored targets and weights, held against PyTorch's own cross-entropy in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchsid.core import beliefs
from torchsid.core.weighting import IGNORED, balanced, counted, weigh_classes
from torchsid.errors import TargetError

SHAPES = [(5,), (3, 4), (2, 3, 2)]
C = 3


def loss_of(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The mean cross-entropy as the learners take it."""
    weight = counted(target, weight)
    log_target = beliefs.log_target(target, C, weight=weight, dtype=torch.float64)
    losses = -beliefs.expectation(log_target, beliefs.to_log_belief(logits))
    return beliefs.mean(losses, None if weight is None else weight.to(losses))


@given(seed=st.integers(0, 2**31), shape=st.sampled_from(SHAPES), ignored=st.sampled_from([0.0, 0.3, 0.9]))
def test_weights_of_classes_and_ignored_targets_are_pytorchs(seed: int, shape: tuple[int, ...], ignored: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, C, generator=generator, dtype=torch.float64)
    target = torch.randint(C, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = IGNORED
    weights = torch.rand(C, generator=generator, dtype=torch.float64)
    classes_second = logits.movedim(-1, 1)
    if (target == IGNORED).all():  # where PyTorch has NaN
        assert loss_of(logits, target, None) == loss_of(logits, *weigh_classes(target, weights)) == 0.0
        return
    torch.testing.assert_close(loss_of(logits, target, None), F.cross_entropy(classes_second, target))
    torch.testing.assert_close(
        loss_of(logits, *weigh_classes(target, weights)), F.cross_entropy(classes_second, target, weight=weights)
    )
    rows = F.one_hot(target.clamp(min=0), C).double().lerp(torch.full((), 1 / C, dtype=torch.float64), 0.2)
    tilted, weight = weigh_classes(rows, weights)
    expected = F.cross_entropy(classes_second, rows.movedim(-1, 1), weight=weights, reduction="sum") / weight.sum()
    torch.testing.assert_close(loss_of(logits, tilted, weight), expected)


@given(seed=st.integers(0, 2**31), shape=st.sampled_from(SHAPES))
def test_what_is_ignored_may_as_well_not_be_there(seed: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, C, generator=generator, dtype=torch.float64)
    target, weight = torch.randint(C, shape, generator=generator), torch.rand(shape, generator=generator, dtype=torch.float64)
    ignored = torch.rand(shape, generator=generator) < 0.3
    found = loss_of(logits, target.masked_fill(ignored, IGNORED), weight)
    kept = loss_of(logits[~ignored], target[~ignored], weight[~ignored]) if not ignored.all() else torch.zeros(())
    torch.testing.assert_close(found, kept.double())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_ignored_is_one_number_whatever_the_type(dtype: torch.dtype) -> None:
    target = torch.tensor([1, 156 if dtype == torch.uint8 else IGNORED]).to(dtype)  # in uint8, 156 has the bits of −100
    weight = counted(target)
    assert weight is None if dtype == torch.uint8 else weight.tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_weights_of_any_type(dtype: torch.dtype) -> None:
    weight = counted(torch.tensor([1, IGNORED, 0]), torch.ones(3).to(dtype))
    assert weight is not None
    assert weight.double().tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("target", "weight", "says"),
    [
        (torch.zeros(3, dtype=torch.long), torch.ones(2), r"weight has shape \[2\]: give one number a position, \[3\]"),
        (torch.zeros(3, dtype=torch.long), torch.tensor([1.0, -2.0, 0.0]), "weight goes from -2 to 1"),
        (torch.zeros(3, dtype=torch.long), torch.tensor([1.0, torch.nan, 0.0]), "weight goes from nan to nan"),
        (torch.zeros(3, dtype=torch.long), torch.tensor([1.0, torch.inf, 0.0]), "weight goes from 0 to inf"),
        (torch.zeros(3, dtype=torch.long), torch.full((3,), 3e38), "with a finite sum"),
        (torch.zeros(3, dtype=torch.long), [1.0, 1.0, 1.0], "weight is of type list"),
        (torch.zeros(3), torch.ones(3), r"a class is an integer, target\.long\(\)"),
        (F.one_hot(torch.arange(3)), torch.ones(3), "one integer a class"),
        (torch.zeros(0, dtype=torch.long), None, "a batch without samples has no loss"),
        (torch.zeros(0, 3), torch.ones(0), "a batch without samples has no loss"),
        ([1, 0], None, "the target is of type list"),
    ],
)
def test_what_cannot_be_counted_is_refused(target: Any, weight: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        counted(target, weight)
    assert isinstance(caught.value, TargetError) == ("weight" not in says and "sum" not in says)


def test_balanced_classes_count_the_same_in_all() -> None:
    target = torch.tensor([[0, 0, 0], [2, IGNORED, 0]])
    weights = balanced(target, C + 1)
    assert weights.tolist() == [5 / 16, 0, 5 / 4, 0]
    rows = F.one_hot(target.clamp(min=0), C).double()
    torch.testing.assert_close(balanced(rows, C), torch.tensor([6 / 15, 0, 6 / 3], dtype=torch.float64))
