"""Your own images: PATH/train/<class>/*.png and, if there is one, PATH/test/<class>/*.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.tasks.images.decode import decode, decode_all
from torchsid.tasks.images.raw import RawSet, every_fifth
from torchsid.tasks.images.sources import Files, OnBadSample, Request, Source, read_files

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""What counts as an image; other files are ignored."""


def folder(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, FolderSource(), one_fingerprint=True)


class FolderSource(Source):
    """Images in class folders.

    The test set is `test/`, else `val/`; without either it is every fifth image of each class (`every_fifth`).
    """

    decoding_is_slow = True

    def patterns(self) -> Mapping[str, Sequence[str]]:
        """See `Source`."""
        return {"train": ["train/<class>/*.png"], "test": ["test/<class>/*.png or val/<class>/*.png (optional)"]}

    def find(self, root: Path) -> Files:
        """See `Source`; classes and files are in the order of their names.

        Raises:
            DataError: a class of `train/` has no image, or a class of the test set is not in `train/`.
        """
        images = _by_class(root / "train")
        test_root = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
        problems = [f"class {name!r} has no image in {root / 'train' / name}" for name, found in images.items() if not found]
        files = {"train": [path for found in images.values() for path in found]}
        if test_root is not None:
            test_images = _by_class(test_root)
            unknown = sorted(set(test_images) - set(images))
            problems += [f"class {name!r} is in {test_root} but not in {root / 'train'}" for name in unknown]
            files["test"] = [path for name in images for path in test_images.get(name, ())]
            problems += [] if files["test"] or unknown else [f"{test_root} has no image in a class folder"]
        if problems:
            raise DataError("the image folder cannot be used:" + "".join(f"\n  - {problem}" for problem in problems))
        return files

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """See `Source`; all images must have the same size and be all grey or all colour."""
        paths = [*files["train"], *files.get("test", ())]
        shown = [printable("/".join(path.parts[-3:])) for path in paths]
        names = {name: i for i, name in enumerate(sorted({path.parent.name for path in files["train"]}))}
        whole, notes = decode_all(
            lambda i: decode(paths[i].read_bytes()),
            np.array([names[path.parent.name] for path in paths], dtype=np.int64),
            where=shown.__getitem__,
            on_bad_sample=on_bad_sample,
            names=shown,
        )
        is_test = whole.rows >= len(files["train"])
        parts = (whole.take(np.flatnonzero(~is_test)), whole.take(np.flatnonzero(is_test)))
        train, test = parts if "test" in files else every_fifth(whole)
        return RawSet(train=train, test=test, class_names=tuple(names), skipped=notes)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images of every class, both in the order of their names; what is hidden does not count."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("[!.]*/")):
        found[path.name] = sorted(each for each in path.glob("[!.]*") if each.suffix.lower() in SUFFIXES)
    return found
