import io
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchsid.tasks.images.sets import SOURCES

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawSet

CIFAR10, CIFAR100 = SOURCES["cifar10"][1], SOURCES["cifar100"][1]


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def integer(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def python2_pickle(entries: dict[str, NDArray[np.uint8] | Sequence[int] | Sequence[str]]) -> bytes:
    """A dictionary as Python 2's cPickle wrote it for the official archives: byte strings, old NumPy names."""
    items = b""
    for key, value in entries.items():
        items += text(key)
        if isinstance(value, np.ndarray):
            items += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
            dtype = b"cnumpy\ndtype\n" + text("u1") + b"K\x00K\x01\x87R(K\x03" + text("|") + b"NNN" + integer(-1) * 2 + b"K\x00tb"
            pixels = value.tobytes()
            items += b"(K\x01" + b"".join(integer(n) for n in value.shape) + b"\x86" + dtype
            items += b"\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tb"
        else:
            items += b"](" + b"".join(text(v) if isinstance(v, str) else integer(v) for v in value) + b"e"
    return b"\x80\x02}(" + items + b"u."


@pytest.fixture
def images(digits: RawSet) -> NDArray[np.uint8]:
    """60 colour images `[60, 3072]` made of digits."""
    large = digits.train.images[:60].repeat(4, axis=2).repeat(4, axis=3)
    return np.concatenate([large, 255 - large, large // 2], axis=1).reshape(60, 3072)


@pytest.fixture
def cifar10(tmp_path: Path, images: NDArray[np.uint8], digits: RawSet) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        rows = slice(10 * i, 10 * i + 10)
        batch = {"batch_label": ["x"], "labels": digits.train.labels[rows].tolist(), "data": images[rows]}
        (folder / name).write_bytes(python2_pickle(batch))
    (folder / "batches.meta").write_bytes(python2_pickle({"label_names": [f"class {i}" for i in range(10)]}))
    return tmp_path


def test_the_archives_folder_is_read_in_order(cifar10: Path, images: NDArray[np.uint8], digits: RawSet) -> None:
    for root in (cifar10, cifar10 / "cifar-10-batches-py"):
        raw = CIFAR10.read(CIFAR10.find(root), "error")
        assert np.array_equal(raw.train.images, images[:50].reshape(-1, 3, 32, 32))
        assert np.array_equal(raw.test.images, images[50:].reshape(-1, 3, 32, 32))
        assert raw.train.labels.tolist() == digits.train.labels[:50].tolist()
        assert raw.class_names[3] == "class 3"


@pytest.mark.parametrize("compression", ["w", "w:gz"])
def test_the_archive_itself_is_read_and_nothing_unpacked(cifar10: Path, images: NDArray[np.uint8], compression: str) -> None:
    with tarfile.open(cifar10 / "cifar-10-python.tar.gz", compression) as tar:
        tar.add(cifar10 / "cifar-10-batches-py", arcname="cifar-10-batches-py")
    for path in (cifar10 / "cifar-10-batches-py").iterdir():
        path.unlink()
    raw = CIFAR10.read(CIFAR10.find(cifar10), "error")
    assert np.array_equal(raw.train.images, images[:50].reshape(-1, 3, 32, 32))
    assert not list((cifar10 / "cifar-10-batches-py").iterdir())


def test_cifar100_has_fine_labels(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    batch = {"data": images, "fine_labels": list(range(60)), "coarse_labels": [0] * 60}
    (folder / "train").write_bytes(python2_pickle(batch))
    (folder / "test").write_bytes(python2_pickle(batch))
    (folder / "meta").write_bytes(python2_pickle({"fine_label_names": ["a", "b"], "coarse_label_names": ["c"]}))
    raw = CIFAR100.read(CIFAR100.find(tmp_path), "error")
    assert raw.test.labels.tolist() == list(range(60))
    assert raw.class_names == ("a", "b")


def test_pickles_of_todays_numpy_are_read_too(cifar10: Path, images: NDArray[np.uint8]) -> None:
    batch = {b"data": images[:10], b"labels": list(range(10))}
    (cifar10 / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    raw = CIFAR10.read(CIFAR10.find(cifar10), "error")
    assert np.array_equal(raw.test.images, images[:10].reshape(-1, 3, 32, 32))


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(cifar10: Path, protocol: int) -> None:
    target = cifar10 / "harmed"
    evil = pickle.dumps(Malicious(target), protocol=protocol)
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").write_bytes(evil)
    with pytest.raises(DataError, match=r"data_batch_3 asks for \w+\.system(?s:.*)refused"):
        CIFAR10.read(CIFAR10.find(cifar10), "skip")
    assert not target.exists()
    pickle.loads(evil)  # it would have run
    assert target.exists()


@pytest.mark.parametrize(
    "call", [b"cbuiltins\neval\n", b"c__builtin__\ngetattr\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\nfromfile\n"]
)
def test_only_arrays_are_admitted(cifar10: Path, call: bytes) -> None:
    (cifar10 / "cifar-10-batches-py" / "test_batch").write_bytes(b"\x80\x02" + call + b"(" + text("1") + b"tR.")
    with pytest.raises(DataError, match="refused"):
        CIFAR10.read(CIFAR10.find(cifar10), "error")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated or damaged"),
        (b"\x80\x02}(U\x04da", "truncated or damaged"),
        (b"\x80\x02].", "no dictionary"),
        (python2_pickle({"data": np.zeros((2, 30), np.uint8), "labels": [0, 1]}), "no uint8 array"),
        (python2_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "one label for each of 2"),
        (python2_pickle({"labels": [0]}), "no uint8 array"),
    ],
)
def test_damaged_batches_are_named(cifar10: Path, content: bytes, message: str) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_2(?s:.*){message}"):
        CIFAR10.read(CIFAR10.find(cifar10), "error")


def test_a_truncated_or_incomplete_archive_is_named(cifar10: Path) -> None:
    path = cifar10 / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar-10-batches-py/data_batch_1"), io.BytesIO())
    (cifar10 / "cifar-10-batches-py" / "batches.meta").unlink()
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/data_batch_2"):
        CIFAR10.read(CIFAR10.find(cifar10), "error")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is truncated"):
        CIFAR10.read(CIFAR10.find(cifar10), "error")


def test_an_incomplete_folder_is_not_found(cifar10: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_4").unlink()
    assert not any(CIFAR10.find(cifar10).values())
