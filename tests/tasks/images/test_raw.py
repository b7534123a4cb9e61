"""Every class keeps its share; and what every data set must fulfil."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawPart, RawSet, every_fifth, first, hold_out, quotas


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


def test_every_fifth_counts_within_the_class_and_rows_are_remembered() -> None:
    labels = np.array([0] * 6 + [1] * 4 + [0] * 4 + [1], dtype=np.uint8)
    whole = RawPart.complete(np.arange(15, dtype=np.uint8).reshape(15, 1, 1, 1), labels)
    train, test = map(whole.take, every_fifth(whole.labels))
    assert test.rows.tolist() == test.images.ravel().tolist() == [4, 13, 14]
    assert (test.labels.tolist(), test.labels.dtype) == ([0, 0, 1], np.int64)
    assert sorted([*train.rows, *test.rows]) == list(range(15))
    assert test.take(np.array([2, 0])).rows.tolist() == [14, 4]


def test_all_that_is_wrong_with_a_set_is_reported_at_once(digits: RawSet) -> None:
    labels = np.where(digits.train.labels == 3, 12, digits.train.labels)
    bad = RawSet(
        train=RawPart.complete(np.repeat(digits.train.images, 2, axis=1), labels),
        test=RawPart.complete(digits.test.images[:0], digits.test.labels[:0]),
        class_names=("0", "0", *"23456789"),
    )
    with pytest.raises(DataError) as error:
        bad.check("digits")
    for words in (
        "2 channels",
        f"labels are outside 0 … 9, the first is 12 in row {np.flatnonzero(labels == 12)[0]}",
        "the test set is empty",
        "test images (1, 8, 8)",
        "same name",
        "1 classes have no training image: 3",
    ):
        assert words in str(error.value)
    train = RawPart(digits.train.images[:5], np.zeros(4, dtype=np.int64), np.arange(4))
    with pytest.raises(DataError, match=r"5 training images but 4 labels(?s:.*)at least two classes"):
        replace(digits, train=train, class_names=("0",)).check("x")
