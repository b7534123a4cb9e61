import hashlib
from pathlib import Path

import numpy as np
import pytest
from torchsid.tasks.images.catalogue import names

from torchsid.errors import DataError
from torchsid.tasks.images import sets
from torchsid.tasks.images.config import DataConfig
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet


def test_every_name_has_a_reader() -> None:
    assert {*sets.SOURCES, "digits"} == set(names())


def test_the_first_start_decodes_and_the_second_does_not(
    mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(name="mnist", path=str(mnist_folder), cache=str(tmp_path / "cache"))
    first = sets.read(config)

    def refuse(*arguments: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(ParquetSource, "read", refuse)
    second = sets.read(config)
    assert np.array_equal(first.train.images, second.train.images)
    assert first.files == second.files
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_altered_file_is_noticed_even_at_the_same_size_and_time(mnist_folder: Path) -> None:
    import os

    config = DataConfig(name="mnist", path=str(mnist_folder))
    path = mnist_folder / "mnist-test.parquet"
    before, status = sets.read(config), path.stat()
    content = path.read_bytes().replace(b"IHDR", b"IHDX", 1)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"mnist-test\.parquet"):
        sets.read(config)
    assert before.files["mnist-test.parquet"] != hashlib.sha256(content).hexdigest()


def test_files_are_fingerprinted(mnist_folder: Path) -> None:
    raw = sets.read(DataConfig(name="mnist", path=str(mnist_folder)))
    content = (mnist_folder / "mnist-train.parquet").read_bytes()
    assert raw.files["mnist-train.parquet"] == hashlib.sha256(content).hexdigest()
    assert set(raw.files) == {"mnist-train.parquet", "mnist-test.parquet"}


@pytest.mark.parametrize("name", [name for name in names() if name != "digits"])
def test_the_error_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no files of {name} in {tmp_path}(?s:.*)looked for:\n  - .*train") as error:
        sets.read(DataConfig(name=name, path=str(tmp_path)))
    assert ("apt install dataset-fashion-mnist" in str(error.value)) == (name == "fashion-mnist")


def test_a_missing_part_is_named(mnist_folder: Path) -> None:
    (mnist_folder / "mnist-test.parquet").unlink()
    with pytest.raises(DataError, match=r"no complete mnist, only mnist-train\.parquet"):
        sets.read(DataConfig(name="mnist", path=str(mnist_folder)))


def test_the_path_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set data\.path"):
        sets.read(DataConfig(name="cifar10"))
    with pytest.raises(DataError, match="is no folder"):
        sets.read(DataConfig(name="cifar10", path=str(tmp_path / "nowhere")))


def test_fashion_mnist_has_a_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sets, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist"):
        sets.read(DataConfig(name="fashion-mnist"))


def test_an_installed_fashion_mnist_is_read() -> None:
    if not sets.DEBIAN_FASHION_MNIST.is_dir():
        pytest.skip("apt install dataset-fashion-mnist")
    raw = sets.read(DataConfig(name="fashion-mnist"))
    assert (len(raw.train.labels), len(raw.test.labels)) == (60_000, 10_000)
    assert raw.train.images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_an_image_folder_has_one_fingerprint(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (4, 4), color=i).save(tmp_path / "train" / name / f"{i}.png")
    config = DataConfig(name="folder", path=str(tmp_path))
    before = sets.read(config)
    assert list(before.files) == ["10 images"]
    Image.new("L", (4, 4), color=77).save(tmp_path / "train" / "a" / "0.png")
    after = sets.read(config)
    assert after.files != before.files
    assert after.train.images[0, 0, 0, 0] == 77


def test_mnist_may_be_idx_files_instead(tmp_path: Path, digits: RawSet) -> None:
    for stem, part in (("train", digits.train), ("t10k", digits.test)):
        count = len(part.labels).to_bytes(4, "big")
        size = (8).to_bytes(4, "big")
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + count + size * 2 + part.images.tobytes())
        labels = part.labels.astype(np.uint8).tobytes()
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count + labels)
    raw = sets.read(DataConfig(name="mnist", path=str(tmp_path), cache=str(tmp_path / "cache")))
    assert np.array_equal(raw.train.images, digits.train.images)
    assert np.array_equal(raw.test.labels, digits.test.labels)
    assert len(raw.files) == 4
    assert not (tmp_path / "cache").exists()  # reading them again is as fast


def test_the_hubs_sets_are_asked_for_by_repository(monkeypatch: pytest.MonkeyPatch, digits: RawSet) -> None:
    asked = []

    def read(repository: str, *, download_folder: str, on_bad_sample: str) -> RawSet:
        asked.append((repository, download_folder, on_bad_sample))
        return digits

    monkeypatch.setattr(sets.hub, "read", read)
    assert sets.read(DataConfig(name="hub:a/b", path="x", on_bad_sample="skip")) is digits
    assert asked == [("a/b", "x", "skip")]
