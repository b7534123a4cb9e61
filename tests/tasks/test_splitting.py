"""Every class keeps its share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.tasks.splitting import first, hold_out, quotas


@given(counts=st.lists(st.integers(0, 500), min_size=1, max_size=20).filter(any), share=st.floats(0, 1))
def test_quotas_are_the_shares_to_within_one_sample(counts: list[int], share: float) -> None:
    total = round(share * sum(counts))
    quota = quotas(np.array(counts), total)
    assert quota.sum() == total
    assert (np.abs(quota - np.array(counts) * total / sum(counts)) < 1 + 1e-6).all()
    assert (quota <= counts).all()


def test_first_takes_the_first_of_each_class_in_file_order() -> None:
    labels = np.array([1, 1, 1, 0, 0, 1, 2, 2, 0, 2])
    assert first(labels, 5, 3).tolist() == [0, 1, 3, 4, 6]  # 1.5, 2 and 1.5 samples: the odd one goes to class 0
    assert first(labels, 10, 3).tolist() == list(range(10))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25])
def test_hold_out_is_stratified_disjoint_complete_and_depends_on_the_seed(share: float) -> None:
    labels = np.repeat([0, 1, 2], [400, 200, 40])
    kept, out = hold_out(labels, share, 3, seed=3)
    assert np.bincount(labels[out], minlength=3).tolist() == [round(400 * share), round(200 * share), round(40 * share)]
    assert sorted([*kept, *out]) == list(range(640))
    assert (np.diff(kept) > 0).all()
    assert len({tuple(hold_out(labels, share, 3, seed)[1]) for seed in (*range(9), 0)}) == (9 if share else 1)
