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


def test_the_order_differs_between_epochs_and_seeds_and_is_that_of_earlier_versions() -> None:
    assert len({tuple(sample_order(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}) == 100
    assert sample_order(8, 0, 0).tolist() == [3, 1, 6, 0, 4, 5, 7, 2]


def test_the_global_generator_plays_no_part() -> None:
    draws = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        draws.append(torch.rand(4, generator=step_generator(0, 0, 0)))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*draws)


def test_neighbouring_steps_share_nothing() -> None:
    positions = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2), (1, 11, 1), (11, 1, 1)]  # nor do those whose digits read alike
    draws = torch.stack([torch.rand(1000, generator=step_generator(*position)) for position in positions])
    assert (torch.corrcoef(draws) - torch.eye(6)).abs().max() < 0.12  # 4 standard deviations of 1/√1000
    assert draws.mean(dim=1).sub(0.5).abs().max() < 0.04
