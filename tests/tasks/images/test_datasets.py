"""The data sets of the registry, read from small files in their own formats; what all say when files are missing or altered."""

import hashlib
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images import RawSet, Request
from torchsid.tasks.images.datasets import DATASETS, fashion_mnist
from torchsid.tasks.images.parquet import ParquetSource

from .conftest import Pictures, png, write_idx, write_parquet


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
        assert (part.images.dtype, part.labels.dtype, part.rows.dtype) == (np.uint8, np.int64, np.int64)
        assert len(set(part.rows.tolist())) == len(part.labels)
    assert all(len(digest) == 64 for digest in raw.files.values())
    assert bool(raw.files) == (name != "digits")


@pytest.mark.parametrize("name", sorted({*DATASETS.names()} - {"digits"}))
def test_the_error_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no files of {name} in {tmp_path}(?s:.*)looked for:\n  - .*train"):
        read(name, tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        read(name, tmp_path / "nowhere")


def test_the_folder_is_asked_for_unless_there_is_a_usual_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10 is read from local files: set data\.path"):
        read("cifar10", "")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere \(data\.path\) is no folder; apt install dataset-fashion-mnist"):
        read("fashion-mnist", "")


def test_an_installed_fashion_mnist_is_read() -> None:
    if not fashion_mnist.DEBIAN.is_dir():
        pytest.skip("apt install dataset-fashion-mnist")
    raw = read("fashion-mnist", "")
    assert (len(raw.train.labels), len(raw.test.labels)) == (60_000, 10_000)
    assert raw.train.images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_the_first_start_decodes_and_the_second_does_not(
    mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read("mnist", mnist_folder, cache=str(tmp_path / "cache"))
    monkeypatch.setattr(ParquetSource, "read", lambda *_: pytest.fail("decoded again"))
    second = read("mnist", mnist_folder, cache=str(tmp_path / "cache"))
    assert np.array_equal(first.train.images, second.train.images)
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
    assert after.train.images[0, 0, 0, 0] == 77


def test_mnist_may_be_idx_files_which_need_no_cache(tmp_path: Path, mnist_like: Pictures) -> None:
    write_idx(tmp_path, mnist_like)
    raw = read("mnist", tmp_path, cache=str(tmp_path / "cache"))
    assert np.array_equal(raw.train.images, mnist_like[0][:150])
    assert len(raw.files) == 4
    assert not (tmp_path / "cache").exists()


def test_the_digits_are_scikit_learns(digits: RawSet) -> None:
    bunch = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn").load_digits()
    images, labels = np.empty((1797, 8, 8)), np.empty(1797)
    for part in (digits.train, digits.test):
        images[part.rows], labels[part.rows] = part.images[:, 0], part.labels
    assert np.array_equal(labels, bunch.target)
    assert np.array_equal(images, np.rint(bunch.images * 255 / 16))
    assert np.bincount(digits.test.labels).tolist() == (np.bincount(bunch.target) // 5).tolist()
