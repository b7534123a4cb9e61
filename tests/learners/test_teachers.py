import math

import pytest
import torch

from tests.networks import CLASSES
from torchsid.learners.predictions import BeliefMemory


def memory(samples: int = 5, depth: int = 3) -> BeliefMemory:
    return BeliefMemory(samples, depth, torch.full((CLASSES,), -math.log(CLASSES)))


def test_it_teaches_the_prior_until_a_sample_has_been_seen() -> None:
    held = memory()
    beliefs = torch.randn(4, 2, CLASSES).log_softmax(-1)  # p_0 … p_3 of two samples
    held.remember(torch.tensor([3, 0]), -1, beliefs[0])
    for stage in range(3):
        held.remember(torch.tensor([3, 0]), stage, beliefs[stage + 1])
    teachers = held.teachers(torch.tensor([0, 1, 3]))
    assert torch.equal(teachers[:, 0], beliefs[:-1, 1])
    assert torch.equal(teachers[:, 2], beliefs[:-1, 0])
    torch.testing.assert_close(teachers[:, 1].exp(), torch.full((3, CLASSES), 1 / CLASSES))


def test_a_checkpoint_holds_views_of_the_table() -> None:
    held = memory()
    held.tensors()["teacher:stages.2"].fill_(7.0)
    assert (held.teachers(torch.arange(5))[2] == 7).all()
    assert (held.teachers(torch.arange(5))[:2] < 0).all()


@pytest.mark.parametrize("sample", [-1, 5])
def test_samples_that_do_not_exist_are_refused(sample: int) -> None:
    with pytest.raises(ValueError, match=rf"samples from {min(sample, 2)} to {max(sample, 2)}: the memory is of 5, 0 to 4"):
        memory().teachers(torch.tensor([2, sample]))
