from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchsid.tasks.images.sets import SOURCES

from torchsid.errors import DataError
from torchsid.tasks.images.parquet import ParquetSource, class_names, missing_shards, read_columns

Encode = Callable[[NDArray[np.uint8]], bytes]
MNIST = SOURCES["mnist"][0]


def test_images_and_labels_arrive(mnist_folder: Path, mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    raw = MNIST.read(MNIST.find(mnist_folder), "error")
    assert np.array_equal(np.concatenate([raw.train.images, raw.test.images]), mnist_like[0])
    assert np.array_equal(np.concatenate([raw.train.labels, raw.test.labels]), mnist_like[1])
    assert raw.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", "mnist-train.parquet", "mnist-test.parquet"),
        ("mnist", "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("mnist", "mnist/train-00000-of-00001.parquet", "mnist/test-00000-of-00001.parquet"),
        ("cifar10", "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("cifar10", "cifar10/plain_text/train-00000-of-00001.parquet", "cifar10/plain_text/test-00000-of-00001.parquet"),
        ("cifar100", "cifar100-train-00000-of-00002.parquet", "cifar100-test.parquet"),
        ("cifar100", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("tiny-imagenet", "tiny_imagenet_subset-train.parquet", "tiny_imagenet_subset-val.parquet"),
        ("tiny-imagenet", "data/train-00000-of-00001-1359.parquet", "data/valid-00000-of-00001-70d5.parquet"),
    ],
)
def test_usual_places_are_found(name: str, train: str, test: str, tmp_path: Path) -> None:
    for path in (train, test):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert SOURCES[name][0].find(tmp_path) == {"train": [tmp_path / train], "test": [tmp_path / test]}


def test_shards_are_read_in_order(tmp_path: Path, png: Encode, write_parquet: Callable[..., None]) -> None:
    for shard in (1, 0):
        images = [png(np.full((28, 28), 10 * shard + i, dtype=np.uint8)) for i in range(3)]
        write_parquet(tmp_path / f"train-0000{shard}-of-00002.parquet", images, [0, 1, 2])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", images, [0, 1, 2])
    raw = MNIST.read(MNIST.find(tmp_path), "error")
    assert raw.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert raw.train.rows.tolist() == list(range(6))
    assert raw.skipped == ()


def test_a_missing_shard_is_reported() -> None:
    paths = [Path(f"x/cifar100-train-0000{i}-of-00003.parquet") for i in (0, 2)]
    assert missing_shards(paths) == ["cifar100-train-00001-of-00003: this file was not found"]
    assert missing_shards([Path("mnist-train.parquet")]) == []


def test_a_bad_image_is_named_by_file_and_row(
    mnist_folder: Path, mnist_like: tuple[NDArray[np.uint8], NDArray[np.int64]], png: Encode, write_parquet: Callable[..., None]
) -> None:
    encoded = [png(image) for image in mnist_like[0][:20]]
    encoded[7] = encoded[7][:60]
    write_parquet(mnist_folder / "mnist-train.parquet", encoded, mnist_like[1][:20].tolist())
    files = MNIST.find(mnist_folder)
    with pytest.raises(DataError, match=r"mnist-train\.parquet, row 7"):
        MNIST.read(files, "error")
    raw = MNIST.read(files, "skip")
    assert raw.train.rows.tolist() == [i for i in range(20) if i != 7]
    assert np.array_equal(raw.train.labels, mnist_like[1][:20][raw.train.rows])
    assert len(raw.skipped) == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(share: float, mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-train.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"mnist-train\.parquet is missing, truncated"):
        MNIST.read(MNIST.find(mnist_folder), "skip")


def test_a_damaged_column_is_named(mnist_folder: Path) -> None:
    path = mnist_folder / "mnist-train.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)  # the first page's header
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist-train\.parquet"):
        MNIST.read(MNIST.find(mnist_folder), "skip")


def test_wrong_columns_are_named(tmp_path: Path, png: Encode, write_parquet: Callable[..., None]) -> None:
    image = png(np.zeros((28, 28), dtype=np.uint8))
    write_parquet(tmp_path / "a.parquet", [image], [0], image="picture", label="kind")
    with pytest.raises(DataError, match=r"no column img or image, label; it has picture, kind"):
        read_columns(tmp_path / "a.parquet", one_of=(("img", "image"), ("label",)))


def test_labels_must_be_whole_numbers_everywhere(tmp_path: Path, png: Encode, write_parquet: Callable[..., None]) -> None:
    image = png(np.zeros((28, 28), dtype=np.uint8))
    for part in ("train", "test"):
        write_parquet(tmp_path / f"mnist-{part}.parquet", [image, image], [0, None])
    with pytest.raises(DataError, match="1 empty rows"):
        MNIST.read(MNIST.find(tmp_path), "skip")


def test_the_image_column_must_be_a_struct(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for part in ("train", "test"):
        parquet.write_table(pa.table({"image": [b"abc"], "label": [0]}), tmp_path / f"mnist-{part}.parquet")
    with pytest.raises(DataError, match="must be a struct"):
        MNIST.read(MNIST.find(tmp_path), "error")


def test_another_set_under_the_same_file_name_is_refused(
    mnist_folder: Path, png: Encode, write_parquet: Callable[..., None]
) -> None:
    image = png(np.zeros((28, 28), dtype=np.uint8))
    write_parquet(mnist_folder / "mnist-test.parquet", [image], [0], names=("a", "b"))
    with pytest.raises(DataError, match="class names of"):
        MNIST.read(MNIST.find(mnist_folder), "error")
    train = [mnist_folder / "mnist-train.parquet"]
    source = ParquetSource("mnist", num_classes=7, channels=1)
    with pytest.raises(DataError, match="10 classes, mnist 7"):
        source.read({"train": train, "test": train}, "error")


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"{"}, {b"huggingface": b'{"info": null}'}])
def test_without_class_names_in_the_metadata(metadata: dict[bytes, bytes] | None) -> None:
    assert class_names(metadata, "label") == ()


def test_real_cifar_images_decode(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    import pyarrow as pa
    from pyarrow import parquet

    for part in ("train", "test"):
        with parquet.ParquetFile(shared / f"cifar10-{part}.parquet") as file:
            rows = next(file.iter_batches(batch_size=40))
        parquet.write_table(pa.Table.from_batches([rows]), tmp_path / f"cifar10-{part}.parquet")
    source = SOURCES["cifar10"][0]
    raw = source.read(source.find(tmp_path), "error")
    assert raw.train.images.shape == (40, 3, 32, 32)
    assert raw.train.images[0, :, 0, 0].tolist() == [59, 62, 63]  # the first pixel of data_batch_1
    assert raw.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert raw.class_names[6] == "frog"
