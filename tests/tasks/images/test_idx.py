import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchsid.tasks.images.sets import SOURCES

from torchsid.errors import DataError
from torchsid.tasks.images.idx import read_idx

MNIST, FASHION = SOURCES["mnist"][1], SOURCES["fashion-mnist"][0]


def encode(array: NDArray[np.integer]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], *, zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, rows in (("train", slice(150)), ("t10k", slice(150, None))):
        for name, array in (("images-idx3", images[rows, 0]), ("labels-idx1", labels[rows])):
            content = encode(array)
            path = folder / f"{stem}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
def test_images_and_labels_arrive(
    tmp_path: Path, mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]], zipped: bool, folder: str
) -> None:
    write(tmp_path / folder, *mnist_like, zipped=zipped)
    raw = MNIST.read(MNIST.find(tmp_path), "error")
    assert np.array_equal(np.concatenate([raw.train.images, raw.test.images]), mnist_like[0])
    assert np.array_equal(np.concatenate([raw.train.labels, raw.test.labels]), mnist_like[1])


def test_each_set_looks_in_its_own_folder(tmp_path: Path, mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    write(tmp_path / "FashionMNIST" / "raw", *mnist_like, zipped=True)
    assert not any(MNIST.find(tmp_path).values())
    assert FASHION.read(FASHION.find(tmp_path), "error").class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (encode(np.zeros((2, 2), np.uint8)), "no IDX file"),
        (encode(np.zeros((2, 2, 2), np.uint8))[:-1], "8 bytes announced, 7 there"),
        (encode(np.zeros((2, 2, 2), np.uint8)) + b"x", "8 bytes announced, 9 there"),
        (b"\0\0\x0d\x03" + bytes(12), "no IDX file"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=f"a-ubyte (?s:.*){message}"):
        read_idx(tmp_path / "a-ubyte", 3)


@pytest.mark.parametrize("damage", ["truncated", "altered", "no gzip"])
def test_damaged_gzip_is_named(tmp_path: Path, damage: str) -> None:
    content = bytearray(gzip.compress(encode(np.random.default_rng(0).integers(0, 256, (20, 9, 9)))))
    if damage == "truncated":
        content = content[:-50]
    elif damage == "altered":
        content[len(content) // 2] ^= 255
    else:
        content[:2] = b"PK"
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.gz"):
        read_idx(tmp_path / "a.gz", 3)


def test_counts_must_agree(tmp_path: Path, mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    write(tmp_path, *mnist_like, zipped=False)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"50 images(?s:.*)3 labels"):
        MNIST.read(MNIST.find(tmp_path), "error")
