"""Your own images, one folder a class: `train/<class>/*.png`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.decode import decode_all
from torchsid.tasks.images.raw import RawPart, RawSet
from torchsid.tasks.images.sources import Files, OnBadSample
from torchsid.tasks.images.stratify import every_fifth

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""What counts as an image; other files are ignored."""


@dataclass(frozen=True)
class FolderSource:
    """Images in class folders.

    The test set is `test/`, else `val/`; without either it is every fifth image of each class (`stratify.every_fifth`).
    """

    decoding_is_slow: bool = True

    def patterns(self) -> Sequence[str]:
        """See `Source`."""
        return ["train/<class>/*.png", "test/<class>/*.png or val/<class>/*.png (optional)"]

    def find(self, root: Path) -> Files:
        """See `Source`; classes and files are in the order of their names.

        Raises:
            DataError: a class of `train/` has no image, or a class of the test set is not in `train/`.
        """
        classes = _subfolders(root / "train")
        test_root = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
        images = {name: _images(root / "train" / name) for name in classes}
        problems = [f"class {name!r} has no image in {root / 'train' / name}" for name in classes if not images[name]]
        files = {"train": [path for name in classes for path in images[name]]}
        if test_root is not None:
            unknown = sorted(set(_subfolders(test_root)) - set(classes))
            problems += [f"class {name!r} is in {test_root} but not in {root / 'train'}" for name in unknown]
            files["test"] = [path for name in classes for path in _images(test_root / name)]
            problems += [] if files["test"] or unknown else [f"{test_root} has no image in a class folder"]
        if problems:
            raise DataError("the image folder cannot be used:" + "".join(f"\n  - {problem}" for problem in problems))
        return files

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """See `Source`; all images must have the same size and be all grey or all colour."""
        paths = [*files["train"], *files.get("test", ())]
        names = sorted({path.parent.name for path in files["train"]})
        number = {name: i for i, name in enumerate(names)}
        images, kept, notes = decode_all(
            paths,
            channels=None,
            where=lambda i: "/".join(paths[i].parts[-3:]),
            on_bad_sample=on_bad_sample,
        )
        labels = np.array([number[paths[i].parent.name] for i in kept], dtype=np.int64)
        whole = RawPart(images, labels, kept)
        if "test" in files:
            is_test = kept >= len(files["train"])
            train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        else:
            train, test = every_fifth(labels)
        return RawSet(train=whole.take(train), test=whole.take(test), class_names=tuple(names), skipped=notes)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
