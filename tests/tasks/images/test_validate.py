from dataclasses import replace

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawPart, RawSet
from torchsid.tasks.images.validate import check


def test_good_data_pass(digits: RawSet) -> None:
    check(digits, "digits")


def test_all_problems_are_reported_at_once(digits: RawSet) -> None:
    labels = digits.train.labels.copy()
    labels[labels == 3] = 12
    bad = RawSet(
        train=RawPart.complete(np.repeat(digits.train.images, 2, axis=1), labels),
        test=RawPart.complete(digits.test.images[:0], digits.test.labels[:0]),
        class_names=("0", "0", *"23456789"),
    )
    with pytest.raises(DataError) as error:
        check(bad, "digits")
    message = str(error.value)
    assert "2 channels" in message
    assert f"labels are outside 0 … 9, the first is 12 in row {np.flatnonzero(labels == 12)[0]}" in message
    assert "the test set is empty" in message
    assert "test images (1, 8, 8)" in message
    assert "same name" in message
    assert "1 classes have no training image: 3" in message


def test_lengths_must_agree_and_one_class_is_too_few(digits: RawSet) -> None:
    train = RawPart(digits.train.images[:5], np.zeros(4, dtype=np.int64), np.arange(4))
    with pytest.raises(DataError, match=r"5 training images but 4 labels(?s:.*)at least two classes"):
        check(replace(digits, train=train, class_names=("0",)), "x")
