import math

import pytest
import torch

from torchsid.learners.predictions import PredictionMemory


def test_it_begins_with_zeros_and_returns_what_it_was_told() -> None:
    memory = PredictionMemory(4, 3, dtype=torch.float64)
    told = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], dtype=torch.float64)
    memory.remember(torch.tensor([3, 1]), told)
    predictions, visits = memory.recall(torch.tensor([1, 2, 3]))
    assert torch.equal(predictions, torch.stack([told[1], torch.zeros(3, dtype=torch.float64), told[0]]))
    assert visits.tolist() == [1, 0, 1]


def test_what_is_recalled_does_not_change_later() -> None:
    memory, samples = PredictionMemory(2, 2), torch.tensor([0])
    before = memory.recall(samples)
    memory.remember(samples, torch.tensor([[0.5, 0.5]]))
    assert before[0].tolist() == [[0.0, 0.0]]
    assert before[1].tolist() == [0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_that_are_not_finite_leave_no_trace(value: float) -> None:
    memory, samples = PredictionMemory(2, 2), torch.tensor([0, 1])
    memory.remember(samples, torch.tensor([[0.5, 0.5], [0.4, 0.6]]))
    memory.remember(samples, torch.tensor([[value, 0.1], [0.3, 0.7]]))
    assert memory.predictions.tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([0.3, 0.7])]
    assert memory.visits.tolist() == [1, 2]


def test_a_checkpoint_holds_the_very_tensors() -> None:
    memory = PredictionMemory(2, 2)
    tensors = memory.tensors()
    assert all(":" in name for name in tensors)  # which tells them from weights
    for tensor in tensors.values():
        tensor.fill_(3)
    predictions, visits = memory.recall(torch.tensor([1]))
    assert (predictions == 3).all()
    assert visits.tolist() == [3]


@pytest.mark.parametrize("sample", [-1, 2])
def test_samples_that_do_not_exist_are_refused(sample: int) -> None:
    with pytest.raises(ValueError, match="the memory is of 2, 0 to 1"):
        PredictionMemory(2, 2).recall(torch.tensor([sample]))
    with pytest.raises(ValueError, match="the memory is of 2, 0 to 1"):
        PredictionMemory(2, 2).remember(torch.tensor([sample]), torch.ones(1, 2))
