"""Listed images become samples: the same by every way, and read no more often than they must be."""

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from torchsid.errors import DataError
from torchsid.tasks import Splits, ledger
from torchsid.tasks.images import Images, RawSet, Request, decoded, store
from torchsid.tasks.images.encoded import Catalogue, Encoded
from torchsid.tasks.splitting import every_fifth
from torchsid.tasks.stored import Stored

from .conftest import png

GREY = [np.full((4, 4), 5 * i, dtype=np.uint8) for i in range(30)]


class Listed(Encoded):
    """Images in memory."""

    def __init__(self, images: Sequence[np.ndarray[Any, Any] | bytes]) -> None:
        self.images = [image if isinstance(image, bytes) else png(image) for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, i: int) -> bytes:
        return self.images[i]

    def where(self, i: int) -> str:
        return f"image {i}"


def listed_of(images: Sequence[np.ndarray[Any, Any] | bytes]) -> Catalogue:
    count = len(images)
    return Catalogue(
        images=Listed(images),
        labels=np.arange(count) % 2,
        parts={"train": count},
        names=[f"{i}.png" for i in range(count)],
        class_names=("a", "b"),
        files={"all": str(sum(map(hash, map(bytes, images))))},
        divide=every_fifth,
    )


def read(images: Sequence[np.ndarray[Any, Any] | bytes], folder: Path, **settings: Any) -> RawSet:
    return decoded.decoded(listed_of(images), Request(**{"name": "listed", "cache": str(folder)} | settings))


def all_of(raw: RawSet) -> list[Any]:
    return [
        [np.asarray(part.images[:]).tolist(), part.labels.tolist(), part.rows.tolist(), part.names]
        for part in (raw.train, raw.test)
    ]


def test_every_way_gives_the_same_samples(tmp_path: Path) -> None:
    images = [*GREY[:3], b"damaged", *GREY[3:], np.zeros((5, 4), dtype=np.uint8)]
    cached = read(images, tmp_path / "new", on_bad_sample="skip")
    assert cached.skipped == (
        "image 3: of no image format that Pillow knows, or truncated",
        "image 31: is 5x4 grey, most others are 4x4 grey",
    )
    assert cached.train.rows.tolist() == sorted({*range(31)} - {3} - {*cached.test.rows})
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match=r"cannot be stored(?s:.*)held in memory: set data\.cache"):
        in_memory = read(images, tmp_path / "file" / "cache", on_bad_sample="skip")
    on_the_fly = read(images, "off", on_bad_sample="skip")  # type: ignore[arg-type]
    assert [type(raw.train.images) for raw in (cached, in_memory, on_the_fly)] == [Stored, np.ndarray, Stored]
    for raw in (in_memory, on_the_fly):
        assert all_of(raw) == all_of(cached)
        assert (raw.key, raw.skipped) == (cached.key, cached.skipped)
        assert np.array_equal(raw.train.sums, cached.train.sums)  # type: ignore[arg-type]
    for raw in (cached, on_the_fly):
        assert isinstance(raw.train.images, Stored)
        again = pickle.loads(pickle.dumps(raw.train.images.reader))
        assert torch.equal(again.read(torch.tensor([2])), raw.train.images.reader.read(torch.tensor([2])))


def test_the_usual_shape_is_that_of_most_of_some_and_one_colour_image_makes_all_three_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "_PROBED", 3)  # 0, 14 or 15, 29
    monkeypatch.setattr(store, "_CHUNK", 16 * 4)
    colour = np.stack([np.full((4, 4), value, dtype=np.uint8) for value in (10, 20, 30)])
    raw = read([*GREY[:20], colour, *GREY[21:]], tmp_path)
    pixels = np.concatenate([np.asarray(part.images[:]) for part in (raw.train, raw.test)])
    rows = np.concatenate([raw.train.rows, raw.test.rows])
    assert pixels[rows.argsort()][20].tolist() == colour.tolist()
    assert pixels[rows.argsort()][7].tolist() == [GREY[7].tolist()] * 3
    assert [path.suffix for path in tmp_path.iterdir()] == [""]
    assert all_of(read([*GREY[:20], colour, *GREY[21:]], tmp_path)) == all_of(raw)


def test_bad_images_are_named_and_skipping_them_goes_on_from_there(tmp_path: Path) -> None:
    images = [*GREY[:15], b"x", *GREY[15:]]
    with pytest.raises(DataError, match=r"1 of 31 images cannot be used; data\.on_bad_sample = 'skip'(?s:.*)image 15"):
        read(images, tmp_path)
    assert len(read(images, tmp_path, on_bad_sample="skip").skipped) == 1
    with pytest.raises(DataError, match="1 of 31"):
        read(images, tmp_path)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_are_looked_at_before_images(tmp_path: Path, label: int) -> None:
    images = replace(listed_of(GREY), labels=np.array([*[0, 1] * 14, 0, label]))
    with pytest.raises(DataError, match=f"1 labels of listed are outside 0 … 1: the first is {label}, of image 29"):
        decoded.decoded(images, Request(name="listed", cache=str(tmp_path)))
    assert [*tmp_path.iterdir()] == []


def test_all_bad_images_are_named_or_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"30 of 31 (?s:.*)image 1: (?s:.*)and 20 more"):
        read([GREY[0], *[b"x"] * 30], tmp_path)
    with pytest.raises(
        DataError, match=r"3 of 3 images cannot be used:(?s:.*)image 2: no image bytes"
    ):  # also where bad ones may be
        read([b"x", b"y", b""], tmp_path, on_bad_sample="skip")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_jxl", None)
        with pytest.raises(DataError, match=r"pip install 'torchsid\[jxl\]'"):  # a package is missing: nobody's bad image
            read([GREY[0], b"\xff\x0a rest", GREY[1]], tmp_path, on_bad_sample="skip")
    pytest.importorskip("pillow_jxl", reason="pip install 'torchsid[jxl]'")
    assert len(read([*GREY[:9], b"\xff\x0a rest"], tmp_path, on_bad_sample="skip").skipped) == 1


def test_a_disk_that_is_too_small_is_known_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    message = (
        r"1 MiB are needed in .*, 1 MiB are free\), and are too many for data\.memory \(0.0 GiB\): set data\.cache to a folder"
    )
    with pytest.raises(DataError, match=message + r".* or to 'off'"):
        read(GREY, tmp_path, memory_bytes=0)
    assert [path.name for part in tmp_path.iterdir() for path in part.iterdir()] == []
    with pytest.warns(RuntimeWarning, match="held in memory"):
        read(GREY, tmp_path)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Splits]:
    """Write a folder of images, old enough to be trusted, and load it."""
    for i, image in enumerate(GREY):
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
        os.utime(path, (1e9, 1e9))
    return lambda **settings: Images(name="folder", path=str(tmp_path / "data"), cache=str(tmp_path / "cache"), **settings).load(0)


def test_a_warm_start_reads_no_file_and_no_pixel(
    load: Callable[..., Splits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, sha256 = list[str](), ledger._sha256
    monkeypatch.setattr(ledger, "_sha256", lambda path: (asked.append(path.name), sha256(path))[1])  # type: ignore[func-returns-value]
    first = load()
    assert len(asked) == len(set(asked)) == len(GREY)
    asked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_sha256", lambda path: pytest.fail(f"{path} is read again"))
        patch.setattr(store, "_LOOKED_AT", 0)
        patch.setattr("torchsid.tasks.stored.RowFile.read", lambda *_: pytest.fail("pixels are read"))
        second = load()
    assert first.fingerprint == second.fingerprint
    assert first.about == second.about
    whole = first.train.inputs[:].double() / 255
    assert first.about["mean"] == pytest.approx([whole.mean().item()], abs=1e-12)
    assert first.about["std"] == pytest.approx([whole.std(correction=0).item()], abs=1e-12)
    changed = tmp_path / "data" / "a" / "0.png"
    for content, time in ((png(GREY[29]), 2e9), (png(GREY[28]), None)):  # None: just now, which is not to be trusted
        changed.write_bytes(content)
        if time:
            os.utime(changed, (time, time))
        assert load().fingerprint != first.fingerprint
        assert asked == ["0.png"]
        asked.clear()
    load()
    assert asked == ["0.png"]


def test_a_ledger_that_is_damaged_or_of_other_files_is_no_harm(load: Callable[..., Splits], tmp_path: Path) -> None:
    first = load().fingerprint
    (path,) = (tmp_path / "cache").glob("*.npz")
    content = path.read_bytes()
    for damaged in (b"", content[:-50], content[:300] + b"x" + content[301:]):
        path.write_bytes(damaged)
        assert load().fingerprint == first
    (tmp_path / "data" / "a" / "0.png").rename(tmp_path / "data" / "a" / "new.png")
    assert load().fingerprint != first


def test_a_link_that_led_nowhere_is_looked_at_again(load: Callable[..., Splits], tmp_path: Path) -> None:
    link = tmp_path / "data" / "a" / "link.png"
    link.symlink_to(tmp_path / "gone.png")
    assert len(load(on_bad_sample="skip").skipped) == 1
    (tmp_path / "gone.png").write_bytes(png(GREY[0]))
    assert load(on_bad_sample="skip").skipped == ()
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix in (".lock", ".part")] == []


def test_what_is_kept_in_memory_is_a_setting() -> None:
    assert Images(memory=0.5).memory_bytes == 2**29
    assert Images(memory=0).memory_bytes == 0
    assert Images().memory_bytes > 2**20
