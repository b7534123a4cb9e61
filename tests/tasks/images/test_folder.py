from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchsid.tasks.images.sets import SOURCES

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawSet

Encode = Callable[[NDArray[np.uint8]], bytes]
(FOLDER,) = SOURCES["folder"]


@pytest.fixture
def root(tmp_path: Path, digits: RawSet, png: Encode) -> Path:
    """Ten images of each of two classes under train/."""
    for digit, name in ((3, "three"), (8, "eight")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i, image in enumerate(digits.train.images[digits.train.labels == digit][:10]):
            (tmp_path / "train" / name / f"{i:02}.png").write_bytes(png(image))
    return tmp_path


def test_classes_are_folders_in_the_order_of_their_names(root: Path, digits: RawSet) -> None:
    raw = FOLDER.read(FOLDER.find(root), "error")
    assert raw.class_names == ("eight", "three")
    threes = raw.train.images[raw.train.labels == 1]
    expected = digits.train.images[digits.train.labels == 3][:10]
    assert np.array_equal(threes, np.delete(expected, [4, 9], axis=0))


def test_without_a_test_folder_every_fifth_image_is_the_test_set(root: Path) -> None:
    raw = FOLDER.read(FOLDER.find(root), "error")
    assert np.bincount(raw.test.labels).tolist() == [2, 2]
    assert raw.test.rows.tolist() == [4, 9, 14, 19]


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_test_folder_is_used(root: Path, png: Encode, name: str) -> None:
    (root / name / "three").mkdir(parents=True)
    (root / name / "three" / "a.PNG").write_bytes(png(np.zeros((8, 8), dtype=np.uint8)))
    raw = FOLDER.read(FOLDER.find(root), "error")
    assert (len(raw.train.labels), raw.test.labels.tolist()) == (20, [1])


def test_other_files_are_ignored(root: Path) -> None:
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "notes.txt").write_text("")
    (root / "train" / "three" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "three" / "._01.png").write_bytes(b"x")
    assert len(FOLDER.find(root)["train"]) == 20


def test_an_empty_class_and_an_unknown_one_are_both_named(root: Path) -> None:
    (root / "train" / "nine").mkdir()
    (root / "test" / "four").mkdir(parents=True)
    with pytest.raises(DataError, match=r"class 'nine' has no image(?s:.*)class 'four' is in"):
        FOLDER.find(root)


def test_an_empty_test_folder_is_an_error(root: Path) -> None:
    (root / "test").mkdir()
    with pytest.raises(DataError, match="test has no image"):
        FOLDER.find(root)


def test_offenders_are_listed_or_skipped(root: Path, png: Encode) -> None:
    (root / "train" / "three" / "00.png").write_bytes(png(np.zeros((9, 8), dtype=np.uint8)))
    (root / "train" / "three" / "01.png").write_bytes(png(np.zeros((3, 8, 8), dtype=np.uint8)))
    (root / "train" / "eight" / "02.png").write_bytes(b"")
    files = FOLDER.find(root)
    with pytest.raises(DataError, match=r"3 of 20(?s:.*)eight/02\.png(?s:.*)three/00\.png: is 9x8 grey(?s:.*)8x8 colour"):
        FOLDER.read(files, "error")
    raw = FOLDER.read(files, "skip")
    assert len(raw.train.labels) + len(raw.test.labels) == 17
    assert len(raw.skipped) == 3


def test_nothing_there_is_found_as_nothing(tmp_path: Path) -> None:
    assert FOLDER.find(tmp_path) == {"train": []}
