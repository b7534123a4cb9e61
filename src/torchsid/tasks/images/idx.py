"""IDX files, the format of MNIST: http://yann.lecun.com/exdb/mnist, with or without gzip."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.raw import Images, RawPart, RawSet
from torchsid.tasks.images.sources import Files, OnBadSample, first_match

_UNSIGNED_BYTES = 0x08


@dataclass(frozen=True)
class IdxSource:
    """A data set in four IDX files."""

    class_names: tuple[str, ...]
    folder: str
    """Folder that torchvision makes under its root, such as `MNIST/raw`."""
    decoding_is_slow: bool = False

    def patterns(self) -> Sequence[str]:
        """See `Source`."""
        return [pattern for part in ("train", "t10k") for pattern in self._patterns(part, "images", 3)]

    def find(self, root: Path) -> Files:
        """See `Source`; each part is its images and its labels."""
        files = {}
        for part, stem in (("train", "train"), ("test", "t10k")):
            images = first_match(root, self._patterns(stem, "images", 3))
            labels = first_match(root, self._patterns(stem, "labels", 1))
            files[part] = [images[0], labels[0]] if images and labels else []
        return files

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """See `Source`; there are no single bad samples here, a damaged file is an error."""
        return RawSet(train=_read_part(*files["train"]), test=_read_part(*files["test"]), class_names=self.class_names)

    def _patterns(self, stem: str, what: str, dimensions: int) -> list[str]:
        name = f"{stem}-{what}[-.]idx{dimensions}-ubyte"
        return [f"{folder}{name}{end}" for folder in ("", f"{self.folder}/") for end in ("", ".gz")]


def read_idx(path: Path, dimensions: int) -> Images:
    """Read an IDX file of unsigned bytes with so many dimensions.

    Raises:
        DataError: the file is unreadable, truncated, or holds something else.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read or is truncated ({error})") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]):
        raise DataError(f"{path} is no IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected, found = int(np.prod(shape)), len(data) - header
    if found != expected:
        raise DataError(f"{path} is truncated or damaged: {expected} bytes announced, {found} there")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _read_part(images: Path, labels: Path) -> RawPart:
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(classes):
        raise DataError(f"{images} has {len(pixels)} images, {labels} {len(classes)} labels")
    return RawPart.complete(pixels[:, None], classes)
