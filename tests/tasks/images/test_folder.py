from pathlib import Path

import numpy as np
import pytest

from torchsid.errors import DataError
from torchsid.tasks.images.datasets.folder import FolderSource
from torchsid.tasks.images.raw import RawSet

from .conftest import png

FOLDER = FolderSource()


@pytest.fixture
def root(tmp_path: Path, digits: RawSet) -> Path:
    """Ten images of each of two classes under train/."""
    for digit, name in ((3, "three"), (8, "eight")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i, image in enumerate(digits.train.images[digits.train.labels == digit][:10]):
            (tmp_path / "train" / name / f"{i:02}.png").write_bytes(png(image))
    return tmp_path


def test_classes_are_folders_by_name_and_every_fifth_image_is_for_the_test(root: Path, digits: RawSet) -> None:
    raw = FOLDER.read(FOLDER.find(root), "error")
    assert raw.class_names == ("eight", "three")
    assert raw.test.rows.tolist() == [4, 9, 14, 19]
    expected = digits.train.images[digits.train.labels == 3][:10]
    assert np.array_equal(raw.train.images[raw.train.labels == 1], np.delete(expected, [4, 9], axis=0))


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_test_folder_is_used(root: Path, name: str) -> None:
    (root / name / "three").mkdir(parents=True)
    (root / name / "three" / "a.PNG").write_bytes(png(np.zeros((8, 8), dtype=np.uint8)))
    raw = FOLDER.read(FOLDER.find(root), "error")
    assert (len(raw.train.labels), raw.test.labels.tolist()) == (20, [1])


def test_other_files_are_ignored(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "train" / ".hidden").mkdir()
    for name in ("notes.txt", "three/Thumbs.db", "three/._01.png"):
        (root / "train" / name).write_bytes(b"x")
    assert len(FOLDER.find(root)["train"]) == 20
    assert FOLDER.find(tmp_path_factory.mktemp("empty")) == {"train": []}


def test_empty_classes_and_unknown_ones_are_all_named(root: Path) -> None:
    (root / "train" / "nine").mkdir()
    (root / "test").mkdir()
    with pytest.raises(DataError, match=r"class 'nine' has no image(?s:.*)test has no image"):
        FOLDER.find(root)
    (root / "test" / "four").mkdir()
    with pytest.raises(DataError, match=r"class 'nine' has no image(?s:.*)class 'four' is in"):
        FOLDER.find(root)


def test_offenders_are_listed_or_skipped(root: Path) -> None:
    (root / "train" / "three" / "00.png").write_bytes(png(np.zeros((9, 8), dtype=np.uint8)))
    (root / "train" / "three" / "01.png").write_bytes(png(np.zeros((3, 8, 8), dtype=np.uint8)))
    (root / "train" / "eight" / "02.png").write_bytes(b"")
    files = FOLDER.find(root)
    with pytest.raises(DataError, match=r"3 of 20(?s:.*)eight/02\.png(?s:.*)three/00\.png: is 9x8 grey(?s:.*)8x8 colour"):
        FOLDER.read(files, "error")
    raw = FOLDER.read(files, "skip")
    assert len(raw.train.labels) + len(raw.test.labels) == 17
    assert len(raw.skipped) == 3
