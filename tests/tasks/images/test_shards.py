"""Tar archives as people have them, in the layout of WebDataset."""

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks import Splits, cache
from torchsid.tasks.images import Images, tars

from .conftest import png

Members = Mapping[str, bytes]


def picture(value: int) -> bytes:
    return png(np.full((3, 4, 4), value, dtype=np.uint8))


def samples(values: range, **kinds: Any) -> dict[str, bytes]:
    """Pictures of one colour each, of two classes in turn."""
    return {f"{i:03}.{kind}": content for i in values for kind, content in (("png", picture(i)), ("cls", b"%d\n" % (i % 2)))}


def write(path: Path, members: Members, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=form, errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    os.utime(path, (1e9, 1e9))
    return path


def load(root: Path, **settings: Any) -> Splits:
    return Images(name="shards", path=str(root), validation=0.0, **settings).load(0)


def colours(splits: Splits) -> dict[str, list[int]]:
    return {name: getattr(splits, name).inputs[:][:, 0, 0, 0].tolist() for name in ("train", "validation", "test")}


@pytest.mark.parametrize(
    "names",
    [
        ("train/0.tar", "train/1.tar", "val/0.tar"),
        ("a-train-0.tar", "a-train-1.tar", "a-valid-0.tar"),
        ("Train_0.tar", "Train_1.TAR", "TEST.tar"),
    ],
)
def test_shards_of_unequal_size_are_read_in_order_with_labels_and_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, values in zip(names, (range(10), range(10, 13), range(13, 17)), strict=True):
        write(tmp_path / name, samples(values))
    splits = load(tmp_path)
    assert colours(splits) == {"train": [*range(13)], "validation": [], "test": [13, 14, 15, 16]}
    assert splits.train.target.tolist() == [i % 2 for i in range(13)]
    assert splits.train.names == tuple(f"{i:03}.png" for i in range(13))
    assert splits.about["class_names"] == ["0", "1"]


def test_archives_of_no_part_are_divided_by_lot_and_a_missing_test_part_is_every_fifth(tmp_path: Path) -> None:
    write(tmp_path / "b.tar", samples(range(10)))
    write(tmp_path / "c.tar", samples(range(10, 20)))
    assert [len(part) for part in colours(load(tmp_path)).values()] == [16, 0, 4]
    (tmp_path / "b.tar").rename(tmp_path / "train.tar")
    splits = load(tmp_path)
    assert colours(splits) == {"train": [*range(8)], "validation": [], "test": [8, 9]}
    assert splits.skipped == ("archives of no part: 1 left out (c.tar)",)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([b"0", b"1"], "cat\ndog\n", ["cat", "dog"]),
        ([b"dog", b"cat"], "", ["cat", "dog"]),
        ([b'{"label": 1, "url": "x"}', b'{"class": "0"}'], "", ["0", "1"]),
        ([b'{"class": "dog"}', b'{"class": "cat"}'], "dog\ncat", ["dog", "cat"]),
    ],
)
def test_labels_are_numbers_or_names_in_text_or_json(
    tmp_path: Path, labels: list[bytes], classes: str, expected: list[str]
) -> None:
    kind = "json" if labels[0].startswith(b"{") else "cls"
    for part in ("train", "test"):
        write(
            tmp_path / f"{part}.tar",
            {f"{part}{i}.{k}": v for i in range(4) for k, v in (("png", picture(i)), (kind, labels[i % 2]), ("txt", b"a cat"))},
        )
    if classes:
        (tmp_path / "classes.txt").write_text(classes)
    splits = load(tmp_path)
    assert splits.about["class_names"] == expected
    named = [json.loads(label) if kind == "json" else label.decode() for label in labels]
    said = [str(next(iter(label.values()))) if isinstance(label, dict) else label for label in named]
    found = [expected[target] for target in splits.train.target.tolist()]
    assert found == ([expected[int(text)] if text.isdigit() else text for text in said] * 2)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_odd_names_and_what_is_no_sample(tmp_path: Path, form: int) -> None:
    long = "/".join(["folder" * 10] * 5)
    odd = {f"{long}/{i}.{kind}": content for i in range(3) for kind, content in (("png", picture(i)), ("cls", b"%d" % (i % 2)))}
    others = {"README": b"x", "a/._0.png": b"x", ".DS_Store": b"x", "caf\udce9.PNG": picture(9), "caf\udce9.cls": b"1"}
    path = write(tmp_path / "x.tar", odd | others, form=form)
    with tarfile.open(path, "a", format=form) as archive:
        link = tarfile.TarInfo("linked.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.png"
        archive.addfile(link)
    found = tars.index(path)
    assert [sample.name for sample in found.samples] == [*(f"{long}/{i}.png" for i in range(3)), "caf\udce9.PNG"]
    assert (found.problems, found.remarks) == ([], ["x.tar: links and other members without content: 1 left out"])
    content = path.read_bytes()
    assert [content[each.start :][: each.size] for each in found.samples] == [picture(i) for i in (0, 1, 2, 9)]


BAD: dict[str, tuple[Members, str]] = {
    "no label": ({"7.png": picture(7)}, "7 has no label"),
    "no text": ({"7.png": picture(7), "7.cls": b"\xff"}, "7 has no label"),
    "captions": ({"7.png": picture(7), "7.json": b'{"caption": "x"}'}, "7 has no label"),
    "no image": ({"7.cls": b"1"}, "7 has no image"),
    "several images": ({"7.png": picture(7), "7.jpg": picture(7), "7.cls": b"1"}, "7 has several images"),
}


@pytest.mark.parametrize("case", BAD)
def test_samples_that_lack_something_are_named_or_left_out(tmp_path: Path, case: str) -> None:
    members, message = BAD[case]
    write(tmp_path / "train.tar", samples(range(20, 30)) | members)
    write(tmp_path / "test.tar", samples(range(4)))
    with pytest.raises(DataError, match=rf"1 samples or archives(?s:.*)on_bad_sample(?s:.*)train.tar: {message}"):
        load(tmp_path)
    splits = load(tmp_path, on_bad_sample="skip")
    assert len(splits.train) == 10
    assert len(splits.skipped) == 1


def test_doubled_keys_in_a_shard_and_the_same_sample_in_two_shards(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(range(8)))
    write(tmp_path / "train-0.tar", {"003.png": picture(99)}, "a")
    write(tmp_path / "train-1.tar", samples(range(6, 12)))
    numbered_anew = samples(range(30, 34))
    write(tmp_path / "test.tar", {f"{int(name[:3]) - 30:03}{name[3:]}": content for name, content in numbered_anew.items()})
    with pytest.raises(DataError, match=r"003.png is there twice(?s:.*)train-1.tar: 006.png is in an earlier(?s:.*)007.png"):
        load(tmp_path)
    splits = load(tmp_path, on_bad_sample="skip")
    assert colours(splits) == {"train": [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11], "validation": [], "test": [30, 31, 32, 33]}


@pytest.mark.parametrize(
    ("damage", "message", "left"),
    [
        (lambda content: content[:8_800], r"damaged or cut short behind byte \d+ \(unexpected end of data\)", range(2, 9)),
        (lambda content: content[:2048] + b"x" * 512 + content[2560:], "damaged from byte 2048 on", range(2)),
        (lambda content: content[:700], "damaged or cut short behind byte", range(1)),
        (lambda content: b"", "damaged or cut short behind byte 0", range(1)),
        (lambda content: b"no archive" * 100, "damaged or cut short behind byte 0", range(1)),
    ],
)
def test_a_damaged_shard_is_named_and_what_is_whole_in_it_is_kept(tmp_path: Path, damage: Any, message: str, left: range) -> None:
    write(tmp_path / "train-0.tar", samples(range(10)))
    path = write(tmp_path / "train-1.tar", samples(range(10, 20)))
    write(tmp_path / "test-0.tar", samples(range(20, 24)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"train-1.tar: {message}"):
        load(tmp_path)
    found = load(tmp_path, on_bad_sample="skip").train
    assert len(found) - 10 in left
    (tmp_path / "train-1.tar").write_bytes(path.read_bytes()[:0] + _without_end(samples(range(10, 20)), tmp_path))
    assert "train-1.tar: has no end mark, and may have been cut short" in load(tmp_path).skipped


def _without_end(members: Members, folder: Path) -> bytes:
    path = write(folder / "whole", members)
    content = path.read_bytes()
    path.unlink()
    return content[: len(content.rstrip(b"\0")) // 512 * 512 + 512]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no files of shards(?s:.*)train-"),
        ({"test-0.tar": samples(range(4))}, "no files of shards in .*, only test-0.tar(?s:.*)looked for"),
        ({"train.tar.gz": samples(range(4)), "x/b.tgz": {}}, r"2 archives are compressed \(train.tar.gz, x/b.tgz\)(?s:.*)gunzip"),
        ({"train.tar": {}}, "no image with a label"),
        ({"train.tar": {"a.png": picture(1), "a.cls": b"100000"}}, "label 100000 is larger than the number of images"),
        ({"train.tar": {"a.png": picture(1), "a.cls": b"-1"}}, "outside 0 … 0: the first is -1, of train.tar: a.png"),
    ],
)
def test_archives_that_cannot_be_used_say_why(tmp_path: Path, files: dict[str, Members], message: str) -> None:
    for name, members in files.items():
        write(tmp_path / name, members)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_an_archive_that_is_compressed_under_another_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.tar", samples(range(4)), "w:gz")
    with pytest.raises(DataError, match=r"train\.tar is compressed.*gunzip"):
        load(tmp_path)


def test_what_is_in_archives_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "test"):
        write(tmp_path / f"{part}.tar", samples(range(10)) if part == "train" else samples(range(20, 25)))
    first = load(tmp_path)
    assert len([*cache.folder("").glob("archives-*.npz")]) == 1
    with monkeypatch.context() as only_once:
        only_once.setattr(tars, "index", None)
        second = load(tmp_path)
    assert (first.fingerprint, first.train.names, first.test.names) == (second.fingerprint, second.train.names, second.test.names)
    os.utime(write(tmp_path / "test.tar", samples(range(20, 28))), (2e9, 1.1e9))
    assert len(load(tmp_path).test) == 8
    next(iter(cache.folder("").glob("archives-*.npz"))).write_bytes(b"damaged")
    assert len(load(tmp_path).train) == 10


def test_an_archive_that_changes_while_it_is_used_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / f"{part}.tar", samples(range(10)) if part == "train" else samples(range(20, 25)))
    splits = load(tmp_path, cache="off")
    os.utime(tmp_path / "train.tar")
    with pytest.raises(DataError, match=r"train\.tar: 00\d\.png: has changed"):
        splits.train.inputs[:3]
