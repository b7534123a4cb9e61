"""What every task has from its base class."""

import pytest
import torch
from torch import Tensor

from torchsid.errors import DataError
from torchsid.tasks import About, Samples, Splits, Task
from torchsid.tasks.domain import generator_at


class Smallest(Task):
    def load(self, seed: int) -> Splits:
        raise NotImplementedError

    def example(self, about: About) -> Tensor:
        return torch.zeros(2, 3)


SAMPLES = Samples(torch.arange(12).view(3, 4), torch.tensor([0, 1, 0]), weight=torch.ones(3), rows=torch.tensor([5, 7, 9]))


def test_taken_samples_keep_what_is_known_of_them() -> None:
    taken = SAMPLES.take(torch.tensor([2, 0]))
    assert (len(SAMPLES), len(taken)) == (3, 2)
    assert torch.equal(taken.inputs, SAMPLES.inputs[[2, 0]])
    assert (taken.target.tolist(), taken.rows.tolist(), taken.clean_target) == ([0, 0], [9, 5], None)  # type: ignore[union-attr]


def test_a_batch_is_the_samples_as_they_are() -> None:
    x, target, weight = Smallest().training_batch(SAMPLES, {}, torch.Generator())
    assert (x is SAMPLES.inputs, target is SAMPLES.target, weight is SAMPLES.weight) == (True, True, True)


def test_a_sample_is_shown_by_its_numbers_and_nothing_is_read_from_outside() -> None:
    assert "[4, 5, 6, 7]" in Smallest().show(SAMPLES.inputs[1])
    with pytest.raises(DataError, match=r"Smallest cannot read 'a\.png'"):
        Smallest().read("a.png", {})


def test_random_numbers_follow_from_the_position_alone_and_neighbours_share_nothing() -> None:
    positions = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2), (1, 11, 1), (11, 1, 1)]  # nor do those whose digits read alike
    before = torch.get_rng_state()
    draws, again = (torch.stack([torch.rand(1000, generator=generator_at("step", *each)) for each in positions]) for _ in "ab")
    assert torch.equal(draws, again)
    assert torch.equal(before, torch.get_rng_state())
    assert (torch.corrcoef(draws) - torch.eye(6)).abs().max() < 0.12  # 4 standard deviations of 1/√1000
    assert torch.randperm(8, generator=generator_at("order", 0, 0)).tolist() == [3, 1, 6, 0, 4, 5, 7, 2]  # as in earlier versions
