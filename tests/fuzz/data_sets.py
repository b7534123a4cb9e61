"""Tiny data sets in every format that is read, and the settings that read them."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from tests.tasks.images.conftest import encode_idx, png, write_parquet
from tests.tasks.images.test_cifar import python2_pickle

TRAIN, TEST, CLASSES = 40, 20, 10
Pixels = NDArray[np.uint8]


def _pictures(channels: int, size: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Images `[N, C, S, S]`, each a little brighter in the rows of its class, and their labels."""
    labels = np.arange(TRAIN + TEST, dtype=np.int64) % CLASSES
    images = np.random.default_rng(0).integers(0, 60, (TRAIN + TEST, channels, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, label % size] += 150
    return images, labels


def _folder(root: Path) -> None:
    images, labels = _pictures(3, 12)
    for index, (image, label) in enumerate(zip(images, labels % 3, strict=True)):
        path = root / ("train" if index < TRAIN else "test") / f"class {label}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


def _idx(root: Path) -> None:
    images, labels = _pictures(1, 28)
    for stem, part in (("train", slice(TRAIN)), ("t10k", slice(TRAIN, None))):
        (root / f"{stem}-images-idx3-ubyte").write_bytes(encode_idx(images[part, 0]))
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(encode_idx(labels[part]))


def _parquet(root: Path) -> None:
    images, labels = _pictures(1, 28)
    for name, part in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
        write_parquet(root / f"mnist-{name}.parquet", [png(image) for image in images[part]], labels[part].tolist())


def _archive(root: Path) -> None:
    images, labels = _pictures(3, 32)
    parts = {f"data_batch_{n + 1}": slice(8 * n, 8 * n + 8) for n in range(5)} | {"test_batch": slice(TRAIN, None)}
    for name, part in parts.items():
        batch = {"labels": labels[part].tolist(), "data": images[part].reshape(-1, 3072)}
        (root / name).write_bytes(python2_pickle(batch))
    (root / "batches.meta").write_bytes(python2_pickle({"label_names": [f"class {n}" for n in range(CLASSES)]}))


WRITERS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "folder": ("folder", _folder),
    "idx": ("mnist", _idx),
    "parquet": ("mnist", _parquet),
    "archive": ("cifar10", _archive),
}
"""Format: the data set's name, and what writes one."""


def write(format_: str, root: Path) -> list[str]:
    """Write a data set below `root` and return the settings that train on it."""
    root.mkdir(parents=True, exist_ok=True)
    name, writer = WRITERS[format_]
    writer(root)
    return [f"data.name={name}", f"data.path={root}", f"data.cache={root.parent / 'cache'}"]


@cache
def _kept(format_: str) -> tuple[str, ...]:
    return tuple(write(format_, Path(mkdtemp(prefix="fuzz-data-")) / format_))


def chosen(random: Random) -> list[str]:
    """Return the settings of some data set, which is written once a process, and which nobody changes."""
    format_ = random.choice(["digits", *WRITERS])
    if format_ == "digits":
        return ["data.name=digits", "data.path=", f"data.limit={random.choice([30, 47, 64])}"]
    return [*_kept(format_), "data.limit=0"]
