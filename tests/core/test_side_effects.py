import contextlib

import pytest
import torch
from torch import nn

from tests.networks import INPUTS, assert_untouched, restless_extractor, snapshot
from torchsid.core.side_effects import threads, without_side_effects


def disturb(module: nn.Module) -> None:
    """Change everything that must come back."""
    module(torch.randn(8, INPUTS)).square().sum().backward()


@pytest.fixture
def module() -> nn.Module:
    module = restless_extractor()
    module(torch.randn(8, INPUTS)).sum().backward()
    module[0].bias.grad = None
    return module


def test_nothing_is_left_behind_even_by_an_error(module: nn.Module) -> None:
    before = snapshot(module)
    with contextlib.suppress(RuntimeError), without_side_effects(module):
        disturb(module)
        raise RuntimeError
    assert_untouched(module, before)
    disturb(module)
    with pytest.raises(AssertionError):
        assert_untouched(module, before)


def test_gradients_start_as_none(module: nn.Module) -> None:
    with without_side_effects(module):
        assert all(parameter.grad is None for parameter in module.parameters())
        disturb(module)
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_repeated_pass_draws_the_same_numbers(module: nn.Module) -> None:
    x = torch.randn(8, INPUTS)
    with without_side_effects(module):
        first = module(x)
    assert torch.equal(first, module(x))


def test_parameters_keep_what_they_were_given_inside(module: nn.Module) -> None:
    """It undoes a measurement, not a training step."""
    with without_side_effects(module), torch.no_grad():
        module[0].weight.zero_()
    assert not module[0].weight.any()


def test_threads_are_as_before_afterwards_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(RuntimeError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
