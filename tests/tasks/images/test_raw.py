import numpy as np

from torchsid.tasks.images.raw import RawPart


def test_taken_samples_remember_their_rows() -> None:
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    part = RawPart.complete(images, np.arange(5, dtype=np.uint8) * 2).take(np.array([1, 3, 4])).take(np.array([2, 0]))
    assert part.images.ravel().tolist() == [4, 1]
    assert part.labels.tolist() == [8, 2]
    assert part.rows.tolist() == [4, 1]
    assert part.labels.dtype == np.int64
