import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsid.tasks.order import sample_order, step_generator


@given(n=st.integers(0, 200), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 10**9))
def test_the_order_is_a_permutation_and_a_function_of_its_arguments(n: int, seed: int, epoch: int) -> None:
    order = sample_order(n, seed, epoch)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(n))
    assert torch.equal(order, sample_order(n, seed, epoch))


def test_the_order_differs_between_epochs_and_seeds() -> None:
    orders = {tuple(sample_order(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_the_order_is_what_it_was_in_earlier_versions() -> None:
    assert sample_order(8, 0, 0).tolist() == [3, 1, 6, 0, 4, 5, 7, 2]


def test_the_global_generator_plays_no_part() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = torch.rand(4, generator=step_generator(0, 0, 0))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, torch.rand(4, generator=step_generator(0, 0, 0)))


def test_neighbouring_steps_share_nothing() -> None:
    draws = torch.stack(
        [torch.rand(1000, generator=step_generator(*position)) for position in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2)]]
    )
    correlation = torch.corrcoef(draws) - torch.eye(4)
    assert correlation.abs().max() < 0.12  # 4 standard deviations of 1/√1000
    assert draws.mean(dim=1).sub(0.5).abs().max() < 0.04


def test_positions_are_not_concatenated_digits() -> None:
    first, second = (torch.rand(4, generator=step_generator(*position)) for position in [(1, 11, 1), (11, 1, 1)])
    assert not torch.equal(first, second)
