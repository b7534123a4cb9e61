import numpy as np
import pytest
from torchsid.tasks.images.digits import scaled

from torchsid.tasks.images.raw import RawSet


def test_the_scans_are_scikit_learns(digits: RawSet) -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = np.empty((1797, 8, 8)), np.empty(1797)
    for part in (digits.train, digits.test):
        images[part.rows], labels[part.rows] = part.images[:, 0], part.labels
    assert np.array_equal(labels, bunch.target)
    assert np.array_equal(images, np.rint(bunch.images * 255 / 16))


def test_the_test_set_is_a_fixed_fifth_of_every_class(digits: RawSet) -> None:
    assert (len(digits.train.labels), len(digits.test.labels)) == (1442, 355)
    counts = np.bincount(np.concatenate([digits.train.labels, digits.test.labels]))
    assert np.bincount(digits.test.labels).tolist() == (counts // 5).tolist()
    assert not set(digits.train.rows) & set(digits.test.rows)


def test_scaling_uses_the_whole_range() -> None:
    assert scaled(np.array([0, 1, 8, 16], dtype=np.uint8)).tolist() == [0, 16, 128, 255]
