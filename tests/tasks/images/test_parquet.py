from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from torchsid.errors import DataError
from torchsid.tasks.columns import class_names, missing_shards, read_columns
from torchsid.tasks.images import RawSet
from torchsid.tasks.images.datasets import cifar10, cifar100, mnist, tiny_imagenet
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.request import OnBadSample, Request
from torchsid.tasks.images.sources import read_files

from .conftest import Pictures, png, write_parquet

MNIST = mnist.PARQUET
BLACK = png(np.zeros((28, 28), dtype=np.uint8))


def read(folder: Path, on_bad_sample: OnBadSample = "error") -> RawSet:
    return read_files(Request(name="mnist", path=str(folder), on_bad_sample=on_bad_sample), MNIST)


def test_images_and_labels_arrive(mnist_folder: Path, mnist_like: Pictures) -> None:
    raw = read(mnist_folder)
    assert np.array_equal(np.concatenate([raw.train.images[:], raw.test.images[:]]), mnist_like[0])
    assert np.array_equal(np.concatenate([raw.train.labels, raw.test.labels]), mnist_like[1])
    assert raw.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("source", "train", "test"),
    [
        (MNIST, "mnist-train.parquet", "mnist-test.parquet"),
        (MNIST, "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        (MNIST, "mnist/train-00000-of-00001.parquet", "mnist/test-00000-of-00001.parquet"),
        (cifar10.PARQUET, "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        (cifar10.PARQUET, "cifar10/plain_text/train-00000-of-00001.parquet", "cifar10/plain_text/test-00000-of-00001.parquet"),
        (cifar100.PARQUET, "cifar100-train-00000-of-00002.parquet", "cifar100-test.parquet"),
        (cifar100.PARQUET, "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        (tiny_imagenet.PARQUET, "tiny_imagenet_subset-train.parquet", "tiny_imagenet_subset-val.parquet"),
        (tiny_imagenet.PARQUET, "data/train-00000-of-00001-1359.parquet", "data/valid-00000-of-00001-70d5.parquet"),
    ],
)
def test_usual_places_are_found(source: ParquetSource, train: str, test: str, tmp_path: Path) -> None:
    for path in (train, test):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert source.find(tmp_path) == {"train": [tmp_path / train], "test": [tmp_path / test]}


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    for shard in (1, 0):
        images = [png(np.full((28, 28), 10 * shard + i, dtype=np.uint8)) for i in range(3)]
        paths = [f"{shard}/{name}.png" for name in "abc"]
        write_parquet(tmp_path / f"train-0000{shard}-of-00002.parquet", images, [0, 1, 2], paths=paths)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", images, [0, 1, 2], paths=["x.png", "y.png", "z.png"])
    raw = read(tmp_path)
    assert raw.train.images[:][:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert (raw.train.rows.tolist(), raw.skipped) == (list(range(6)), ())
    assert (raw.train.names, raw.test.names) == (
        ("0/a.png", "0/b.png", "0/c.png", "1/a.png", "1/b.png", "1/c.png"),
        ("x.png", "y.png", "z.png"),
    )
    write_parquet(tmp_path / "train-00001-of-00002.parquet", images, [0, 1, 2], names=tuple("9876543210"))
    with pytest.raises(DataError, match=r"class names of train-00000-of-00002\.parquet and train-00001-of-00002\.parquet differ"):
        read(tmp_path)


def test_a_missing_shard_is_reported() -> None:
    paths = [Path(f"x/cifar100-train-0000{i}-of-00003.parquet") for i in (0, 2)]
    assert missing_shards(paths) == ["cifar100-train-00001-of-00003: this file was not found"]
    assert missing_shards([Path("mnist-train.parquet")]) == []


def test_a_bad_image_is_named_by_file_and_row(mnist_folder: Path, mnist_like: Pictures) -> None:
    encoded = [png(image) for image in mnist_like[0][:20]]
    encoded[7] = encoded[7][:60]
    write_parquet(mnist_folder / "mnist-train.parquet", encoded, mnist_like[1][:20].tolist())
    with pytest.raises(DataError, match=r"mnist-train\.parquet, row 7"):
        read(mnist_folder)
    raw = read(mnist_folder, "skip")
    assert raw.train.rows.tolist() == [i for i in range(20) if i != 7]
    assert np.array_equal(raw.train.labels, mnist_like[1][:20][raw.train.rows])
    assert len(raw.skipped) == 1


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:4] + bytes(56) + b[60:]])
def test_a_damaged_file_is_named(damage: Callable[[bytes], bytes], mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-train.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"mnist-train\.parquet"):
        read(mnist_folder, "skip")


def test_what_is_in_the_columns_must_fit(mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-test.parquet"
    write_parquet(path, [BLACK], [0], image="picture", label="kind")
    with pytest.raises(DataError, match=r"no column img or image, label; it has picture, kind"):
        read_columns(path, one_of=(("img", "image"), ("label",)))
    write_parquet(path, [BLACK, BLACK], [0, None])
    with pytest.raises(DataError, match="1 empty rows"):
        read(mnist_folder, "skip")
    twice = pa.StructArray.from_arrays([pa.array([BLACK]), pa.array([BLACK])], names=["bytes", "bytes"])
    for images in ([b"abc"], twice, [["abc"]]):
        parquet.write_table(pa.table({"image": images, "label": [0]}), path)
        with pytest.raises(DataError, match="must be a struct"):
            read(mnist_folder)
    for names in (["image", "label", "label"], ["image", "label", "image"]):
        columns = [pa.array([0]), pa.array([0]), pa.array([0])]
        parquet.write_table(pa.Table.from_arrays(columns, names=names), path)
        with pytest.raises(DataError, match=f"mnist-test.parquet has several columns called {names[2]}"):
            read(mnist_folder)
    write_parquet(path, [BLACK], [-1])
    with pytest.raises(DataError, match=r"1 labels of .* are outside 0 … 9: the first is -1, of .*row"):
        read(mnist_folder)


def test_another_set_under_the_same_file_name_is_refused(mnist_folder: Path) -> None:
    train = [mnist_folder / "mnist-train.parquet"]
    with pytest.raises(DataError, match="10 classes, mnist 7"):
        ParquetSource("mnist", num_classes=7, channels=1).read({"train": train, "test": train})
    write_parquet(mnist_folder / "mnist-test.parquet", [BLACK], [0], names=("a", "b"))
    with pytest.raises(DataError, match="class names of"):
        read(mnist_folder)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {b"huggingface": b"{"},
        {b"huggingface": b'{"info": null}'},
        *({b"huggingface": words} for words in (b"[" * 100_000, b"\xff", b'{"info": {"features": {"label": {"names": "abc"}}}}')),
    ],
)
def test_without_class_names_in_the_metadata(metadata: dict[bytes, bytes] | None) -> None:
    assert class_names(metadata, "label") == ()


@pytest.mark.parametrize(
    ("source", "pixel", "labels", "last"),
    [
        (MNIST, [0], [5, 0, 4, 1, 9], "9"),
        (cifar10.PARQUET, [59, 62, 63], [6, 9, 9, 4, 1], "truck"),
        (cifar100.PARQUET, [252, 252, 250], [0, 1, 2, 3, 4], "worm"),
        (tiny_imagenet.PARQUET, [255, 136, 193], [0, 1, 2, 3, 4], "n12267677"),
    ],
)
def test_the_first_of_the_real_images(
    source: ParquetSource, pixel: list[int], labels: list[int], last: str, shared: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pillow_jxl", reason="pip install 'torchsid[jxl]'")
    for path, *_ in source.find(shared).values():
        with parquet.ParquetFile(path) as file:
            parquet.write_table(pa.Table.from_batches([next(file.iter_batches(batch_size=40))]), tmp_path / path.name)
    raw = read_files(Request(name="some", path=str(tmp_path)), source)
    assert raw.train.images[0][:, 0, 0].tolist() == pixel
    assert raw.train.labels[:5].tolist() == labels
    assert raw.class_names[-1] == last
