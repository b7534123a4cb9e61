"""The data sets of the registry, read from small files in their own formats; what all say when files are missing or altered."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images import RawSet, Request
from torchsid.tasks.images.datasets import DATASETS, fashion_mnist
from torchsid.tasks.images.idx import read_idx
from torchsid.tasks.images.parquet import ParquetImages

from .conftest import Pictures, encode_idx, png, write_idx, write_parquet


def read(name: str, path: Path | str, **settings: str) -> RawSet:
    raw: RawSet = DATASETS.load(name)(Request(name=name, path=str(path), **settings))  # type: ignore[arg-type]
    return raw


@pytest.fixture
def small_files(tmp_path: Path, mnist_like: Pictures) -> Callable[[str], Path]:
    """Write two images a class in the format of a data set."""

    def write(name: str) -> Path:
        parquet = getattr(import_module(DATASETS.load(name).__module__), "PARQUET", None)
        if parquet:
            classes = list(range(parquet.num_classes))
            images = [png(np.full((parquet.channels, 4, 4), i % 251, dtype=np.uint8)) for i in classes]
            for part in ("train", parquet.test[0]):
                path = tmp_path / f"{parquet.stem.replace('*', '')}-{part}.parquet"
                write_parquet(path, images, classes, label=parquet.label, names=[f"class {i}" for i in classes])
        elif name == "folder":
            for i in range(10):
                (tmp_path / "train" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
                (tmp_path / "train" / "ab"[i % 2] / f"{i}.png").write_bytes(png(np.full((4, 4), i, dtype=np.uint8)))
        elif name == "shards":
            for part in ("train", "test"):
                with tarfile.open(tmp_path / f"{part}.tar", "w") as archive:
                    for i in range(8):
                        for kind, content in (("png", png(np.full((4, 4), i, dtype=np.uint8))), ("cls", b"%d" % (i % 2))):
                            member = tarfile.TarInfo(f"{part}{i}.{kind}")
                            member.size = len(content)
                            archive.addfile(member, io.BytesIO(content))
        elif name == "fashion-mnist":
            write_idx(tmp_path / "FashionMNIST" / "raw", mnist_like)
        elif name != "digits":
            pytest.skip(f"write small files of {name} here to have it tested")
        return tmp_path

    return write


@pytest.mark.parametrize("name", DATASETS.names())
def test_images_labels_rows_and_names_arrive(name: str, small_files: Callable[[str], Path]) -> None:
    raw = read(name, small_files(name))
    raw.check(name)
    for part in (raw.train, raw.test):
        assert (np.asarray(part.images[:]).dtype, part.labels.dtype, part.rows.dtype) == (np.uint8, np.int64, np.int64)
        assert len(set(part.rows.tolist())) == len(part.labels)
    assert all(len(digest) == 64 for digest in raw.files.values())
    assert bool(raw.files) == (name != "digits")


@pytest.mark.parametrize("name", sorted({*DATASETS.names()} - {"digits"}))
def test_the_error_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no files of {name} in {tmp_path}(?s:.*)looked for.*:\n  - .*train"):
        read(name, tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        read(name, tmp_path / "nowhere")


def test_the_folder_is_asked_for_unless_there_is_a_usual_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10 is read from local files: set data\.path"):
        read("cifar10", "")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere \(data\.path\) is no folder; apt install dataset-fashion-mnist"):
        read("fashion-mnist", "")


def test_the_first_start_decodes_and_the_second_does_not(
    mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read("mnist", mnist_folder, cache=str(tmp_path / "cache"))
    monkeypatch.setattr(ParquetImages, "read", lambda *_: pytest.fail("decoded again"))
    second = read("mnist", mnist_folder, cache=str(tmp_path / "cache"))
    assert np.array_equal(first.train.images[:], second.train.images[:])
    assert first.files == second.files
    assert set(first.files) == {"mnist-train.parquet", "mnist-test.parquet"}


def test_an_altered_file_is_noticed_even_at_the_same_size_and_time_and_a_missing_one(mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-test.parquet"
    before, content, status = read("mnist", mnist_folder), path.read_bytes(), path.stat()
    path.write_bytes(content.replace(b"IHDR", b"IHDX", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"mnist-test\.parquet"):
        read("mnist", mnist_folder)
    assert before.files["mnist-test.parquet"] == hashlib.sha256(content).hexdigest()
    path.unlink()
    with pytest.raises(DataError, match=r"no complete mnist, only mnist-train\.parquet"):
        read("mnist", mnist_folder)


def test_an_image_folder_has_one_fingerprint(small_files: Callable[[str], Path]) -> None:
    folder = small_files("folder")
    before = read("folder", folder)
    (folder / "train" / "a" / "0.png").write_bytes(png(np.full((4, 4), 77, dtype=np.uint8)))
    after = read("folder", folder)
    assert list(before.files) == list(after.files) == ["10 images"]
    assert before.files != after.files
    assert after.train.images[0][0, 0, 0] == 77


def test_the_digits_are_scikit_learns(digits: RawSet) -> None:
    bunch = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn").load_digits()
    images, labels = np.empty((1797, 8, 8)), np.empty(1797)
    for part in (digits.train, digits.test):
        images[part.rows], labels[part.rows] = part.images[:, 0], part.labels
    assert np.array_equal(labels, bunch.target)
    assert np.array_equal(images, np.rint(bunch.images * 255 / 16))
    assert np.bincount(digits.test.labels).tolist() == (np.bincount(bunch.target) // 5).tolist()


@pytest.mark.parametrize(("pack", "end"), [(bytes, ""), (gzip.compress, ".gz")], ids=["plain", "gzip"])
@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
def test_images_and_labels_of_idx_files_arrive(
    tmp_path: Path, mnist_like: Pictures, pack: Callable[[bytes], bytes], end: str, folder: str
) -> None:
    write_idx(tmp_path / folder, mnist_like, pack=pack, end=end)
    raw = read("mnist", tmp_path, cache=str(tmp_path / "cache"))
    assert np.array_equal(np.concatenate([raw.train.images, raw.test.images]), mnist_like[0])
    assert np.array_equal(np.concatenate([raw.train.labels, raw.test.labels]), mnist_like[1])
    assert len(raw.files) == 4
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]  # what the files are: nothing was decoded
    if folder != ".":
        with pytest.raises(DataError, match="no files of fashion-mnist"):
            read("fashion-mnist", tmp_path)


def announced(*shape: int) -> bytes:
    """An IDX file with eight bytes that says it holds more."""
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + bytes(8)


CUBE = encode_idx(np.zeros((2, 2, 2), np.uint8))
# A time in the header would give the workers of a test run different names for one case.
ZIPPED = gzip.compress(encode_idx(np.random.default_rng(0).integers(0, 256, (20, 9, 9))), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a-ubyte", b"", "no IDX file"),
        ("a-ubyte", encode_idx(np.zeros((2, 2), np.uint8)), "no IDX file"),
        ("a-ubyte", b"\0\0\x0d\x03" + bytes(12), "no IDX file"),
        ("a-ubyte", CUBE[:-1], "8 bytes announced, 7 there"),
        ("a-ubyte", CUBE + b"x", "8 bytes announced, more there"),
        *(("a-ubyte", announced(*shape), "announces") for shape in ((2**31, 2**31, 4), (2**32 - 1,) * 3, (0, 2**31, 2**31))),
        ("a-ubyte", announced(2**10, 2**10, 2**12), "4294967296 bytes announced, 8 there"),
        ("a.gz", gzip.compress(announced(2**16, 2**15, 3), mtime=0), "announces"),
        ("a.gz", gzip.compress(CUBE + bytes(2**20), mtime=0), "more there"),
        ("a.gz", ZIPPED[:-50], ""),
        ("a.gz", ZIPPED[:900] + bytes([ZIPPED[900] ^ 255]) + ZIPPED[901:], ""),
        ("a.gz", b"PK" + ZIPPED[2:], ""),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} (?s:.*){message}"):
        read_idx(tmp_path / name, 3)


def test_counts_of_idx_files_must_agree(tmp_path: Path, mnist_like: Pictures) -> None:
    write_idx(tmp_path, mnist_like)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"50 images(?s:.*)3 labels"):
        read("mnist", tmp_path)
