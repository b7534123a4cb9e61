"""Your own images, a folder for each class: PATH/<class>/*, or PATH/train/<class>/* with val/ and test/ beside it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.tasks.images import cache, folders
from torchsid.tasks.images.decode import decode_all, opened, pixels
from torchsid.tasks.images.encoded import Encoded
from torchsid.tasks.images.folders import Found
from torchsid.tasks.images.raw import Pixels, RawPart, RawSet, every_fifth, hold_out
from torchsid.tasks.images.scan import Files, listing
from torchsid.tasks.images.sources import Request, file_sha256, one_sha256, root_of

_TEST_SHARE = 0.2


def folder(request: Request) -> RawSet:
    """Return the images below `request.path`; `folders.find` says which they are, and of which class and part.

    Without a test set a fifth of each class is kept for one: every fifth image where there is a `train/`, else images drawn by lot,
    the same whatever the run's seed.

    Raises:
        DataError: there are no such folders, a class has no image, or images are damaged or differ in size.
    """
    root = root_of(request)
    found = folders.find(root, request.files, lenient=request.on_bad_sample == "skip")
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(found.files.names, pool.map(lambda name: _sha256(root / name), found.files.names), strict=True))
    key = {**hashes, "on_bad_sample": request.on_bad_sample, "size": str(request.size), "notes": repr([*found.notes])}
    raw = cache.remember(cache.folder(request.cache), request.name, key, lambda: _read(found, request))
    return replace(raw, files={f"{len(found.labels)} images": one_sha256(hashes)})


@dataclass(frozen=True)
class ImageFiles(Encoded):
    """Images in files of their own, below a folder."""

    root: Path
    files: Files
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> bytes:
        """See `Encoded`."""
        with open(os.path.join(self.root, self.files.names[i]), "rb") as file:  # noqa: PTH118, PTH123 - for each of millions
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.files.sizes[i], self.files.times[i]):
                raise DataError("has changed since the images were listed")
            return file.read()

    def where(self, i: int) -> str:
        """See `Encoded`."""
        return printable(self.files.names[i])


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:  # a link that leads nowhere, or a file of somebody else: a bad sample, when it is decoded
        return f"unreadable: {error.strerror}"


def _read(found: Found, request: Request) -> RawSet:
    names, images = found.files.names, ImageFiles(found.root, found.files, len(found.labels))
    size = (request.size, request.size) if request.size else None
    several: list[int] = []

    def read(i: int) -> Pixels:
        image = opened(images.read(i))
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a telephone's photo has a small copy in it
            several.append(i)
        return pixels(image, size=size)

    whole, bad = decode_all(read, found.labels, where=images.where, on_bad_sample=request.on_bad_sample, names=names)
    notes = [*found.notes]
    if several:
        first = listing(sorted(names[i] for i in several))
        notes.append(f"images of several pictures, of which the first is read: {len(several)} ({first})")
    parts: dict[str, Any] = dict(zip(found.parts, _divided(whole, [*found.parts.values()]), strict=True))
    if "test" not in parts and found.bare:
        kept, out = hold_out(whole.labels, _TEST_SHARE, len(found.class_names), seed=0)
        parts = {"train": whole.take(kept), "test": whole.take(out)}
    elif "test" not in parts:
        parts["train"], parts["test"] = every_fifth(parts["train"])
    if not len(parts["test"].labels):
        count = len(found.labels)
        raise DataError(f"{count} images are too few to keep some for testing: add images, or a test set (test/ or a list)")
    return RawSet(**parts, class_names=found.class_names, skipped=(*notes, *bad))


def _divided(whole: RawPart, sizes: Sequence[int]) -> list[RawPart]:
    """Return the parts of which `whole` has what is left of so many samples each."""
    ends = list(accumulate(sizes))
    return [
        whole.take(np.flatnonzero((whole.rows >= end - size) & (whole.rows < end))) for end, size in zip(ends, sizes, strict=True)
    ]
