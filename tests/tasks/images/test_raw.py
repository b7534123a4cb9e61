"""What every data set must fulfil."""

from dataclasses import replace

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawPart, RawSet
from torchsid.tasks.splitting import every_fifth


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
