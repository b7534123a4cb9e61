from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.distributed.networks import batches, crossing_cascade

from torchsid.distributed.assign import assign, stage_seconds


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=7), st.integers(1, 7))
def test_the_slowest_worker_is_as_fast_as_can_be(seconds: list[float], workers: int) -> None:
    workers = min(workers, len(seconds))
    assignment = assign(seconds, workers)
    assert [stage for stages in assignment for stage in stages] == list(range(len(seconds)))
    assert len(assignment) == workers
    assert all(assignment)
    slowest = max(sum(seconds[stage] for stage in stages) for stages in assignment)
    best = min(
        max(sum(seconds[a:b]) for a, b in zip((0, *cuts), (*cuts, len(seconds)), strict=True))
        for cuts in combinations(range(1, len(seconds)), workers - 1)
    )
    assert slowest == pytest.approx(best)


def test_measuring_costs_time_and_leaves_no_trace() -> None:
    cascade = crossing_cascade()
    before = {name: value.clone() for name, value in cascade.state_dict().items()}
    cascade.eval()
    state = torch.get_rng_state()
    seconds = stage_seconds(cascade, *batches()[0])
    assert len(seconds) == cascade.depth
    assert min(seconds) > 0
    assert all(torch.equal(value, before[name]) for name, value in cascade.state_dict().items())
    assert all(parameter.grad is None for parameter in cascade.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not cascade.training
