import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.tasks.images.stratify import every_fifth, first, hold_out, quotas


@given(counts=st.lists(st.integers(0, 500), min_size=1, max_size=20), share=st.floats(0, 1))
def test_quotas_are_the_shares_to_within_one_sample(counts: list[int], share: float) -> None:
    if sum(counts) == 0:
        return
    total = round(share * sum(counts))
    quota = quotas(np.array(counts), total)
    exact = np.array(counts) * total / sum(counts)
    assert quota.sum() == total
    assert (np.abs(quota - exact) < 1 + 1e-6).all()
    assert (quota <= counts).all()


def test_first_takes_the_first_of_each_class_in_file_order() -> None:
    labels = np.array([1, 1, 1, 0, 0, 1, 2, 2, 0, 2])
    assert first(labels, 5, 3).tolist() == [0, 1, 3, 4, 6]  # 1.5, 2 and 1.5 samples: the odd one goes to class 0
    assert first(labels, 10, 3).tolist() == list(range(10))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25])
def test_hold_out_is_stratified_disjoint_and_complete(share: float) -> None:
    labels = np.repeat([0, 1, 2], [400, 200, 40])
    kept, out = hold_out(labels, share, 3, seed=3)
    assert np.bincount(labels[out], minlength=3).tolist() == [round(400 * share), round(200 * share), round(40 * share)]
    assert sorted([*kept, *out]) == list(range(640))
    assert (np.diff(kept) > 0).all()


def test_hold_out_depends_on_the_seed_and_covers_the_whole_set() -> None:
    labels = np.zeros(100, dtype=np.int64)
    chosen = [set(hold_out(labels, 0.2, 1, seed)[1].tolist()) for seed in range(60)]
    assert chosen[0] == set(hold_out(labels, 0.2, 1, 0)[1].tolist())
    assert chosen[0] != chosen[1]
    assert set.union(*chosen) == set(range(100))


def test_every_fifth_counts_within_the_class() -> None:
    labels = np.array([0] * 6 + [1] * 4 + [0] * 4 + [1])
    train, test = every_fifth(labels)
    assert test.tolist() == [4, 13, 14]
    assert sorted([*train, *test]) == list(range(15))
