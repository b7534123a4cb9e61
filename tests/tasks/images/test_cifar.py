import io
import os
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from torchsid.errors import DataError
from torchsid.tasks.images import RawSet
from torchsid.tasks.images.datasets import cifar10, cifar100

CIFAR10 = cifar10.ARCHIVE


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
def folder(tmp_path: Path, images: NDArray[np.uint8]) -> Path:
    """CIFAR-10's own folder with ten images a file."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        batch = {"batch_label": ["x"], "labels": list(range(10)), "data": images[10 * i : 10 * i + 10]}
        (folder / name).write_bytes(python2_pickle(batch))
    (folder / "batches.meta").write_bytes(python2_pickle({"label_names": [f"class {i}" for i in range(10)]}))
    return folder


def read(root: Path) -> RawSet:
    return CIFAR10.read(CIFAR10.find(root))


def test_the_archives_folder_is_read_in_order(folder: Path, images: NDArray[np.uint8]) -> None:
    for root in (folder.parent, folder):
        raw = read(root)
        assert np.array_equal(raw.train.images, images[:50].reshape(-1, 3, 32, 32))
        assert np.array_equal(raw.test.images, images[50:].reshape(-1, 3, 32, 32))
        assert raw.train.labels.tolist() == 5 * list(range(10))
        assert raw.class_names[3] == "class 3"


@pytest.mark.parametrize("compression", ["w", "w:gz"])
def test_the_archive_itself_is_read_and_nothing_unpacked(folder: Path, images: NDArray[np.uint8], compression: str) -> None:
    with tarfile.open(folder.parent / "cifar-10-python.tar.gz", compression) as tar:
        tar.add(folder, arcname=folder.name)
    for path in folder.iterdir():
        path.unlink()
    assert np.array_equal(read(folder.parent).train.images, images[:50].reshape(-1, 3, 32, 32))
    assert not list(folder.iterdir())


def test_cifar100_has_fine_labels(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    names = {"fine_label_names": ["a", "b"], "coarse_label_names": ["c"]}
    batch = {"data": images, "fine_labels": list(range(60)), "coarse_labels": [0] * 60}
    for name, content in (("train", batch), ("test", batch), ("meta", names)):
        (tmp_path / name).write_bytes(python2_pickle(content))
    raw = cifar100.ARCHIVE.read(cifar100.ARCHIVE.find(tmp_path))
    assert (raw.test.labels.tolist(), raw.class_names) == (list(range(60)), ("a", "b"))


def test_pickles_of_todays_numpy_are_read_too(folder: Path, images: NDArray[np.uint8]) -> None:
    batch = {b"data": images[:10], b"labels": list(range(10))}
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=4))
    assert np.array_equal(read(folder).test.images, images[:10].reshape(-1, 3, 32, 32))


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(folder: Path, protocol: int) -> None:
    evil = pickle.dumps(Malicious(folder / "harmed"), protocol=protocol)
    (folder / "data_batch_3").write_bytes(evil)
    with pytest.raises(DataError, match=r"data_batch_3 asks for \w+\.system(?s:.*)refused"):
        read(folder)
    assert not (folder / "harmed").exists()
    pickle.loads(evil)  # it would have run
    assert (folder / "harmed").exists()


class Call:
    """Pickled, it calls a function with arguments and gives the result a state."""

    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


ROWS = np.zeros((2, 3072), np.uint8)
MAKE, MADE, STATE = ROWS.__reduce__()
ARRAY = Call(np.ndarray, ((1,), np.dtype("O"), b"A" * 8))
FORGED = (
    Call(np.ndarray, (ARRAY,)),  # follows a pointer of the file's choice
    Call(np.ndarray, ((2, 3072), np.dtype("u1"), bytes(6144), -4096)),  # shows the memory in front of the buffer
    Call(MAKE, (np.ndarray, (2, 3072), b"b")),  # memory that was never written
    Call(MAKE, (np.matrix, (0,), b"b")),
    Call(MAKE, MADE, (1, (2, 3072), np.dtype("O"), False, [None] * 6144)),
    Call(MAKE, MADE, (1, (2, 3072), np.dtype([("a", "u1")]), False, bytes(6144))),
    Call(MAKE, MADE, {"__class__": np.ndarray}),
    Call(np.dtype, ("O", False, True)),
    Call(np.dtype, ("u1", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 27)),
    Call(np.dtype, ("u1", False, True), (None, {"__class__": np.dtype})),
)


def call(function: bytes) -> bytes:
    return b"\x80\x02c" + function + b"\n(" + text("1") + b"tR."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *(
            (call(name), "refused")
            for name in (b"builtins\neval", b"__builtin__\ngetattr", b"numpy\nload", b"numpy.core.multiarray\nfromfile")
        ),
        (b"", "truncated or damaged"),
        (b"\x80\x02}(U\x04da", "truncated or damaged"),
        (b"\x80\x02].", "no dictionary"),
        (python2_pickle({"data": np.zeros((2, 30), np.uint8), "labels": [0, 1]}), "no uint8 array"),
        (python2_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "one integer for each of 2"),
        (python2_pickle({"labels": [0]}), "no uint8 array"),
        (pickle.dumps({b"data": ROWS, b"labels": [0.5, True]}, 4), "one integer for each of 2"),
        (pickle.dumps({b"data": ROWS, b"labels": np.arange(2)}, 4), "something other"),
        (pickle.dumps({b"data": ROWS, b"labels": [-1, 1]}, 4), "from -1 to 1"),
        (pickle.dumps({b"data": ROWS, b"labels": [0, 2**70]}, 4), f"from 0 to {2**70}"),
        (pickle.dumps({b"data": ROWS.view(np.int8), b"labels": [0, 1]}, 4), "something other"),
        (pickle.dumps({b"data": ROWS, b"labels": {0, 1}}, 4), "instruction EMPTY_SET"),
        *((pickle.dumps({b"data": forged, b"labels": [0, 1]}, 4), "refused") for forged in FORGED),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "no dictionary"),  # a memo of 16 GB, if it were a table
        (b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".", "no dictionary"),
        (b"\x80\x04}\x8e" + b"\xff" * 8 + b".", "truncated or damaged"),
    ],
)
def test_anything_but_arrays_and_labels_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_2(?s:.*){message}"):
        read(folder)


def test_what_is_incomplete_is_named(folder: Path) -> None:
    path = folder.parent / "cifar-10-python.tar.gz"
    (folder / "batches.meta").unlink()
    assert not all(CIFAR10.find(folder.parent).values())
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar-10-batches-py/data_batch_1"), io.BytesIO())
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/batches.meta"):
        read(folder.parent)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is truncated"):
        read(folder.parent)
    with tarfile.open(path, "w:gz") as tar:
        header = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        header.size = 2**32
        tar.fileobj.write(header.tobuf())  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"python\.tar\.gz: cifar-10-batches-py/batches\.meta has 4,294,967,296 bytes"):
        read(folder.parent)
