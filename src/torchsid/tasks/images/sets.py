"""Which data set is read how."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torchsid.errors import DataError
from torchsid.tasks.images import cache, digits, hub
from torchsid.tasks.images.catalogue import HUB_PREFIX
from torchsid.tasks.images.cifar import CifarArchive
from torchsid.tasks.images.config import DataConfig
from torchsid.tasks.images.folder import FolderSource
from torchsid.tasks.images.idx import IdxSource
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.sources import Files, Source

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

SOURCES: Mapping[str, tuple[Source, ...]] = {
    "cifar10": (
        ParquetSource("cifar10", num_classes=10, channels=3, folders=("plain_text", "cifar10", "cifar10/plain_text")),
        CifarArchive(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            train=tuple(f"data_batch_{i}" for i in range(1, 6)),
            test="test_batch",
            label="labels",
            names_file="batches.meta",
            names_key="label_names",
        ),
    ),
    "cifar100": (
        ParquetSource("cifar100", num_classes=100, channels=3, label="fine_label", folders=("cifar100",)),
        CifarArchive(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            train=("train",),
            test="test",
            label="fine_labels",
            names_file="meta",
            names_key="fine_label_names",
        ),
    ),
    "fashion-mnist": (IdxSource(CLOTHES, folder="FashionMNIST/raw"),),
    "folder": (FolderSource(),),
    "mnist": (
        ParquetSource("mnist", num_classes=10, channels=1, folders=("mnist",)),
        IdxSource(tuple("0123456789"), folder="MNIST/raw"),
    ),
    "tiny-imagenet": (
        ParquetSource(
            "tiny_imagenet*",
            num_classes=200,
            channels=3,
            folders=("tiny-imagenet",),
            test=("val", "valid", "validation"),
        ),
    ),
}
"""For each name the ways it may be stored, tried in this order."""


def read(config: DataConfig) -> RawSet:
    """Read a data set, from the cache of decoded images where that is worth it.

    Raises:
        DataError: the files are not found (says what was looked for) or are damaged.
    """
    if config.name == "digits":
        return digits.read()
    if config.name.startswith(HUB_PREFIX):
        repository = config.name.removeprefix(HUB_PREFIX)
        return hub.read(repository, download_folder=config.path, on_bad_sample=config.on_bad_sample)
    root = _root(config)
    found: list[str] = []
    for source in SOURCES[config.name]:
        files = source.find(root)
        if all(files.values()):
            return _read_files(config, source, files, root)
        found += [path.name for part in files.values() for path in part]
    looked_for = "".join(f"\n  - {pattern}" for source in SOURCES[config.name] for pattern in source.patterns())
    advice = "; apt install dataset-fashion-mnist puts them there" if config.name == "fashion-mnist" else ""
    what = f"no complete {config.name}, only {', '.join(found)}," if found else f"no files of {config.name}"
    raise DataError(f"{what} in {root} (data.path){advice}; looked for:{looked_for}")


def fingerprints(files: Files, root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by its path under `root`."""
    paths = sorted({path for part in files.values() for path in part})
    return {path.relative_to(root).as_posix(): file_sha256(path) for path in paths}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_files(config: DataConfig, source: Source, files: Files, root: Path) -> RawSet:
    hashes = fingerprints(files, root)
    build = partial(source.read, files, config.on_bad_sample)
    if not source.decoding_is_slow:
        return replace(build(), files=hashes)
    key = {**hashes, "on_bad_sample": config.on_bad_sample}
    raw = cache.remember(cache.folder(config.cache), config.name, key, build)
    return replace(raw, files=_summary(hashes) if config.name == "folder" else hashes)


def _summary(hashes: Mapping[str, str]) -> dict[str, str]:
    """One SHA-256 for a whole folder of images: a record of a run needs no line for each."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    return {f"{len(hashes)} images": hashlib.sha256(lines.encode()).hexdigest()}


def _root(config: DataConfig) -> Path:
    if config.path:
        root = Path(config.path).expanduser()
    elif config.name == "fashion-mnist":
        root = DEBIAN_FASHION_MNIST
    else:
        raise DataError(f"{config.name} is read from local files: set data.path to their folder")
    if not root.is_dir():
        advice = "; apt install dataset-fashion-mnist makes it" if root == DEBIAN_FASHION_MNIST else ""
        raise DataError(f"{root} (data.path) is no folder{advice}")
    return root
