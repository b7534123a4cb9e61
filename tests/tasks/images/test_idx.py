import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.datasets.mnist import IDX
from torchsid.tasks.images.idx import read_idx

from .conftest import Pictures, encode_idx, write_idx


@pytest.mark.parametrize(("pack", "end"), [(bytes, ""), (gzip.compress, ".gz")], ids=["plain", "gzip"])
@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
def test_images_and_labels_arrive(
    tmp_path: Path, mnist_like: Pictures, pack: Callable[[bytes], bytes], end: str, folder: str
) -> None:
    write_idx(tmp_path / folder, mnist_like, pack=pack, end=end)
    raw = IDX.read(IDX.find(tmp_path), "error")
    assert np.array_equal(np.concatenate([raw.train.images, raw.test.images]), mnist_like[0])
    assert np.array_equal(np.concatenate([raw.train.labels, raw.test.labels]), mnist_like[1])


def test_each_set_looks_in_its_own_folder(tmp_path: Path, mnist_like: Pictures) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", mnist_like)
    assert not any(IDX.find(tmp_path).values())


CUBE = encode_idx(np.zeros((2, 2, 2), np.uint8))
ZIPPED = gzip.compress(encode_idx(np.random.default_rng(0).integers(0, 256, (20, 9, 9))))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a-ubyte", b"", "no IDX file"),
        ("a-ubyte", encode_idx(np.zeros((2, 2), np.uint8)), "no IDX file"),
        ("a-ubyte", b"\0\0\x0d\x03" + bytes(12), "no IDX file"),
        ("a-ubyte", CUBE[:-1], "8 bytes announced, 7 there"),
        ("a-ubyte", CUBE + b"x", "8 bytes announced, 9 there"),
        ("a.gz", ZIPPED[:-50], ""),
        ("a.gz", ZIPPED[:900] + bytes([ZIPPED[900] ^ 255]) + ZIPPED[901:], ""),
        ("a.gz", b"PK" + ZIPPED[2:], ""),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} (?s:.*){message}"):
        read_idx(tmp_path / name, 3)


def test_counts_must_agree(tmp_path: Path, mnist_like: Pictures) -> None:
    write_idx(tmp_path, mnist_like)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"50 images(?s:.*)3 labels"):
        IDX.read(IDX.find(tmp_path), "error")
