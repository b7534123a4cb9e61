"""Image folders as people have them: every image is read, or the notes say what was left out."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torchsid.errors import DataError
from torchsid.tasks import Splits, ledger
from torchsid.tasks.images import Images, RawSet, Request, folders
from torchsid.tasks.images.datasets import DATASETS

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write images of random colours below a folder."""
    random = np.random.default_rng(0)

    def files(*names: str, size: tuple[int, int] = (6, 6), kind: str = "PNG") -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / name, kind)
        return tmp_path

    return files


def in_classes(folder: str, count: int, end: str = ".png", classes: str = "ab") -> list[str]:
    return [f"{folder}{name}/{i}{end}" for name in classes for i in range(count)]


def read(root: Path, **settings: Any) -> RawSet:
    raw: RawSet = DATASETS.load("folder")(Request(name="folder", path=str(root), **settings))
    return raw


def load(root: Path, **settings: Any) -> Splits:
    return Images(name="folder", path=str(root), **settings).load(0)


def sizes(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.validation), len(splits.test)


@pytest.mark.parametrize(
    ("others", "expected", "note"),
    [
        ({"valid/": 3}, (18, 2, 6), "valid/ is read as the test set"),
        ({"VAL/": 3, "Eval/": 2}, (20, 6, 4), ""),
        ({"validation/": 3, "test/": 2}, (20, 6, 4), ""),
        ({"val/": 1, "valid/": 3, "test/": 2, "eval/": 4}, (20, 2, 4), "images in valid/: 6 left out (valid/a/0.png,"),
        ({"val-set/": 3, "Testing Data/": 2}, (20, 6, 4), ""),
        ({"extra/": 2}, (14, 2, 4), "images beside train/: 4 left out (extra/a/0.png, extra/a/1.png, extra/b/0.png, …)"),
    ],
)
def test_parts_are_found_in_any_combination(
    write: Write, others: dict[str, int], expected: tuple[int, int, int], note: str
) -> None:
    root = write(*in_classes("train/", 10), *(name for folder, count in others.items() for name in in_classes(folder, count)))
    splits = load(root)
    assert sizes(splits) == expected
    assert note in "\n".join(splits.skipped)
    assert bool(splits.skipped) == bool(note)


def test_folders_of_classes_alone_are_divided_by_lot_the_same_for_every_seed(write: Write) -> None:
    root = write(*in_classes("", 20), *in_classes("", 10, classes="c"))
    one, two = (Images(name="folder", path=str(root)).load(seed) for seed in (0, 1))
    assert np.bincount(one.test.target).tolist() == [4, 4, 2]
    assert one.test.names == two.test.names
    assert one.validation.names != two.validation.names
    assert one.test.names != tuple(sorted(in_classes("", 20))[4::5])
    assert sizes(one) == (36, 4, 10)


def test_whatever_an_image_is_called_and_however_deep_it_lies_it_is_read(write: Write) -> None:
    write(*in_classes("train/", 4))
    write("train/a/trip/day 2/1.png", "train/b/x.JPEG.PNG", "train/b/no_ending", "train/b/wrong.dat")
    for kind, ends in {"JPEG": (".JFIF", ".jpe", ".png"), "AVIF": (".avif",), "WEBP": (".WebP", ".bin"), "BMP": (".bmp",)}.items():
        write(*(f"train/a/{kind}{end}" for end in ends), kind=kind)
    root = write("train/a/x.tif", kind="TIFF")
    (root / "train" / "b" / "linked").symlink_to(root / "train" / "a" / "trip")
    raw = read(root)
    assert (len(raw.train.labels) + len(raw.test.labels), raw.skipped) == (8 + 4 + 8 + 1, ())
    assert "train/b/linked/day 2/1.png" in (*(raw.train.names or ()), *(raw.test.names or ()))


def test_what_is_left_out_is_counted_and_named(write: Write) -> None:
    root = write(*in_classes("train/", 5), "train/a/.hidden.png", "train/.tmp/x.png", "train/loose.jpg")
    (root / "train" / "__MACOSX").mkdir()
    for name in ("a/Thumbs.db", "a/._1.png", ".DS_Store", "__MACOSX/x.png"):  # nobody means these
        (root / "train" / name).write_bytes(b"x")
    for name in ("1.mp4", "2.CR2", "3.txt", "4.svg"):
        (root / "train" / "b" / name).write_bytes(b"II*\0")
    os.mkfifo(root / "train" / "b" / "pipe.png")
    (root / "train" / "b" / "round").symlink_to(root / "train")
    splits = load(root)
    assert set(splits.skipped) == {
        "hidden files or folders: 2 left out (train/.tmp, train/a/.hidden.png)",
        "images in no class folder: 1 left out (train/loose.jpg)",
        "files that are no images: 4 left out (train/b/1.mp4, train/b/2.CR2, train/b/3.txt, …)",
        "pipes, sockets or devices: 1 left out (train/b/pipe.png)",
        "links to folders that are read already: 1 left out (train/b/round)",
    }


@pytest.mark.parametrize(("mode", "end"), [("P", ".gif"), ("L", ".tiff"), ("RGB", ".webp")])
def test_of_several_pictures_the_first_is_read_and_the_file_named(write: Write, mode: str, end: str) -> None:
    root = write(*in_classes("", 10))
    first, second = (Image.new("RGB", (6, 6), colour).convert(mode) for colour in ("white", "black"))
    first.save(root / "a" / f"moving{end}", save_all=True, append_images=[second])
    splits = load(root)
    assert splits.skipped == (f"images of several pictures, of which the first is read: 1 (a/moving{end})",)
    part = splits.train if f"a/moving{end}" in (splits.train.names or ()) else splits.test
    if f"a/moving{end}" in (part.names or ()):
        assert part.inputs[(part.names or ()).index(f"a/moving{end}")].min() > 250


def test_links_that_lead_nowhere_and_locked_files_are_bad_samples(write: Write) -> None:
    root = write(*in_classes("train/", 10))
    (root / "train" / "a" / "link.png").symlink_to(root / "gone.png")
    (root / "train" / "a" / "link").symlink_to(root / "gone")
    with pytest.raises(DataError, match=r"2 of 22 images(?s:.*)train/a/link: (?s:.*)No such file(?s:.*)train/a/link\.png"):
        read(root)
    raw = read(root, on_bad_sample="skip")
    assert (len(raw.train.labels) + len(raw.test.labels), len(raw.skipped)) == (20, 2)
    (root / "train" / "c").symlink_to(root / "gone")
    with pytest.raises(DataError, match="class 'c' has no image"):
        read(root)


def test_classes_without_images_and_classes_that_differ_between_the_parts(write: Write) -> None:
    root = write(*in_classes("train/", 5), *in_classes("test/", 2, classes="a"))
    assert read(root).skipped == ("classes without an image in the test set: 1 (b)",)
    (root / "train" / "nine").mkdir()
    (root / "val").mkdir()
    write("test/A/1.png")
    with pytest.raises(DataError, match=r"validation set has no image(?s:.*)class 'A' is in the test(?s:.*)class 'nine' has"):
        read(root)
    (root / "test" / "A" / "1.png").unlink()
    raw = read(root, on_bad_sample="skip")
    assert (raw.validation, raw.class_names) == (None, ("a", "b"))
    assert "folders without an image: 2 left out (test/A, train/nine)" in raw.skipped


def test_a_folder_without_classes_or_without_a_train_part_says_what_is_looked_for(write: Write) -> None:
    root = write("1.png", "2.png")
    with pytest.raises(DataError, match=r"images in no class folder: 2 left out \(1\.png, 2\.png\); looked for(?s:.*)data\.files"):
        read(root)
    write(*in_classes("valid/", 2))
    with pytest.raises(DataError, match="has valid, but no train"):
        read(root)


def test_offenders_are_listed_or_skipped_or_made_one_size(write: Write) -> None:
    root = write(*in_classes("train/", 5))
    write("train/b/tall.png", size=(9, 6))
    (root / "train" / "a" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 11(?s:.*)data\.size = 128(?s:.*)a/2\.png(?s:.*)b/tall\.png: is 9x6 colour"):
        read(root)
    raw = read(root, on_bad_sample="skip")
    assert (len(raw.train.labels) + len(raw.test.labels), len(raw.skipped)) == (9, 2)
    (root / "train" / "a" / "2.png").unlink()
    assert read(root, size=5).train.images.shape[1:] == (3, 5, 5)


def test_photographs_are_resized_and_cropped_and_grey_ones_join_the_others(write: Write) -> None:
    root = write(*in_classes("", 4, ".jpg"), size=(60, 90), kind="JPEG")
    three = np.zeros((40, 200, 3), dtype=np.uint8)
    three[:, 80:120] = 255  # the square in the middle
    Image.fromarray(three).save(root / "a" / "wide.png")
    Image.fromarray(three[:, :, 0].T).save(root / "b" / "high.png")
    (root / "a" / "still.tif").write_bytes(_with_orientation(three))
    raw = read(root, size=16)
    pictures = dict(zip((*(raw.train.names or ()), *(raw.test.names or ())), (*raw.train.images, *raw.test.images), strict=True))
    assert len(pictures) == 11
    assert all(picture.shape == (3, 16, 16) for picture in pictures.values())
    for name in ("a/wide.png", "b/high.png", "a/still.tif"):
        assert pictures[name].min() > 200, name


def _with_orientation(pixels: np.ndarray[Any, Any]) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 8
    Image.fromarray(pixels).save(file, "TIFF", exif=exif)
    return file.getvalue()


TABLE = "\ufeffpath;label;split\r\nx/0.png;cat;train\r\nx/1.png;dog;train\r\nx/2.png;cat;VAL\r\ny/0.png;dog;eval\r\n"
LISTS = {
    "all.csv": {"all.csv": TABLE},
    "train.txt": {"train.txt": "x/0.png cat\nx/1.png dog\n", "valid.txt": "x/2.png cat\n", "test.txt": "y/0.png dog"},
    "Train.txt": {"Train.txt": "x/0.png\tcat\nx\\1.png,dog\n", "val.txt": "./y/../x/2.png; cat\n", "test.txt": "y/0.png dog"},
    "windows.csv": {"windows.csv": TABLE.replace("/", "\\").replace("path;label;", "Path ; LABEL; ")},
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_says_class_and_part(write: Write, name: str) -> None:
    root = write(*in_classes("", 4, classes="xy"))
    for each, text in LISTS[name].items():
        (root / each).write_text(text, encoding="utf-8", newline="")
    raw = read(root, files=name)
    assert raw.validation is not None
    assert raw.class_names == ("cat", "dog")
    assert (raw.train.names, raw.train.labels.tolist()) == (("x/0.png", "x/1.png"), [0, 1])
    assert (raw.validation.names, raw.test.names, raw.test.labels.tolist()) == (("x/2.png",), ("y/0.png",), [1])
    with (root / list(LISTS[name])[-1]).open("a") as file:
        file.write("\n")
    assert read(root, files=name).files != raw.files


def test_a_list_without_labels_or_parts_takes_them_from_the_folders_and_by_lot(write: Write) -> None:
    root = write(*in_classes("train/", 10), "train/a/a b.png", "train/b/unlisted.png")
    (root / "some.txt").write_text("\n".join([*in_classes("train/", 10), "train/a/a b.png"]))
    raw = read(root, files="some.txt")
    assert raw.class_names == ("a", "b")
    assert (len(raw.train.labels), np.bincount(raw.test.labels).tolist()) == (17, [2, 2])
    (root / "my.csv").write_text("path,part\n" + "".join(f"{root / name},train\n" for name in in_classes("train/", 10)))
    raw = read(root, files="my.csv")
    assert (raw.class_names, raw.skipped) == (("a", "b"), ("columns of my.csv that are not path, label, split: 1 not read (part)",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx/0.png,a\n", "no column 'path'; it has file, label"),
        ("", "no column 'path'; it has nothing"),
        ("path,label,split\nx/0.png,a,trian\n", r"line 2: split 'trian'; allowed are train"),
        ("path,label\n0.png,\n,b\nx/0.png,a\nx/0.png,b\n", r"3 lines(?s:.*)2: no label(?s:.*)3: no path(?s:.*)5: x/0.png a second"),
        ('path,label\n"x/0.png,a\n', "no CSV file"),
        ("path,label\nx/0.png,a\nx/../x/0.png,b\n", "line 3: x/../x/0.png a second"),
        ("path,label\nx/0.png,\0\n", "no text in UTF-8"),
        ("path,class\nx/0.png,a\nx/1.png,b\n", "only 'x'"),
        (f"path,label\n{'n' * 300}\\0.png,a\nx/0.png,b\n", "too long"),
        ("path,label\nx/0.png,a\nx/1.png,b\n", "2 images are too few"),
        ("path,label\nx/9.png,a\nx/0.png,b\n", r"x/9\.png: (?s:.*)No such file"),
    ],
)
def test_what_is_wrong_with_a_list_is_named_with_its_line(write: Write, text: str, message: str) -> None:
    root = write(*in_classes("", 2, classes="x"))
    (root / "my.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(root, files="my.csv")
    with pytest.raises(DataError, match=r"none\.csv \(data\.files\) cannot be read"):
        read(root, files="none.csv")


def test_files_come_in_the_order_of_their_paths_with_size_and_time(write: Write) -> None:
    root = write(*(f"train/{name}.png" for name in ("b/2", "b/a-x/1", "b/a/1", "b/a/0", "b/a", "b/10", "a-b/1", "a/1")))
    found = folders.find(Request(name="folder", path=str(root)))
    assert isinstance(found.images, folders.ImageFiles)
    files, paths = found.images.files, sorted(root.rglob("*.png"))
    assert [root / name for name in files.names] == paths
    assert files.sizes.tolist() == [path.stat().st_size for path in paths]
    assert files.times.tolist() == [path.stat().st_mtime_ns for path in paths]
    assert [found.class_names[label] for label in found.labels] == [path.relative_to(root).parts[1] for path in paths]


def test_a_file_that_has_changed_since_it_was_listed_is_named(write: Write) -> None:
    root = write(*in_classes("train/", 10))
    splits = load(root, cache="off", workers=0, memory=0)
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"train/[ab]/\d\.png: has changed since it was listed"):
        splits.train.inputs[:4]


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_file_that_changes_between_listing_and_decoding_is_no_bad_sample(
    write: Write, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    root = write(*in_classes("train/", 10))
    first, sha256s = root / "train" / "a" / "0.png", ledger.sha256s
    content = first.read_bytes()

    def then_change(*args: Any) -> ledger.Hashes:
        hashes = sha256s(*args)
        first.unlink() if what == "gone" else first.write_bytes(content + b" ")
        return hashes

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "sha256s", then_change)
        with pytest.raises(DataError, match=f"a/0.png: has {what} since it was listed; start again"):
            load(root, on_bad_sample="skip")
    first.write_bytes(content)
    assert load(root, on_bad_sample="skip").skipped == ()
