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


class Caches(nn.Module):
    """Makes, grows, replaces, fills and counts in every way that models do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", None)
        self.register_buffer("longest", torch.zeros(0))
        self.register_buffer("expanded", torch.ones(1).expand(4))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("links", torch.eye(3).to_sparse())
        self.state, self.calls, self.by_length = torch.zeros(3), 0, {"a": [torch.zeros(2)]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.table, self.longest, self.expanded = torch.ones(2), torch.ones(5), torch.zeros(4)
        self.register_buffer("late", torch.ones(1), persistent=False)
        self.seen.resize_(4).fill_(7)
        self.links = None
        self.state.add_(1)
        self.calls += 1
        self.by_length["a"][0].add_(1)
        self.by_length["a"].append(x)
        self.kept = [x]
        return x


def test_whatever_a_forward_pass_makes_is_forgotten_and_originals_are_untouched() -> None:
    module = nn.Sequential(Caches(), Caches())
    first, second = module
    second.by_length = first.by_length  # one cache for both
    before = [dict(vars(part)) | dict(part._buffers) for part in module]
    for _ in range(2):
        with without_side_effects(module):
            assert first.by_length is second.by_length
            module(torch.ones(1))
            assert first.by_length["a"][0].tolist() == [2.0, 2.0]
        for part, values in zip(module, before, strict=True):
            now = dict(vars(part)) | dict(part._buffers)
            assert now.keys() == values.keys()
            assert all(now[name] is value for name, value in values.items())
            assert part.seen.tolist() == [0, 0]
            assert part.state.tolist() == [0.0] * 3
            assert part.longest.shape == (0,)
            assert list(map(torch.Tensor.tolist, part.by_length["a"])) == [[0.0, 0.0]]
            assert "late" not in part._non_persistent_buffers_set


def test_a_scripted_part_is_restored_too() -> None:
    with pytest.warns((DeprecationWarning, FutureWarning), match="script"):
        module = nn.Sequential(torch.jit.script(nn.BatchNorm1d(3)))
    with without_side_effects(module.train()):
        module(torch.randn(4, 3))
    assert module[0].num_batches_tracked == 0
    assert not module[0].running_mean.any()
