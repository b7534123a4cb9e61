"""IDX files, the format of MNIST: http://yann.lecun.com/exdb/mnist, with or without gzip."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.raw import Pixels, RawPart, RawSet
from torchsid.tasks.images.sources import Files, Source

_UNSIGNED_BYTES = 0x08
_GZIP = b"\x1f\x8b"
_LARGEST = 2**32  # bytes of one array: more is announced by damage, or by a file made to fill the memory


@dataclass(frozen=True)
class IdxSource(Source):
    """A data set in four IDX files."""

    class_names: tuple[str, ...]
    folder: str
    """Folder that torchvision makes under its root, such as `MNIST/raw`."""

    def patterns(self) -> Mapping[str, Sequence[str]]:
        """See `Source`; images and labels of each part."""
        return {
            f"{part} {what}": [
                f"{folder}{stem}-{what}[-.]idx{dimensions}-ubyte{end}" for folder in ("", f"{self.folder}/") for end in ("", ".gz")
            ]
            for part, stem in (("train", "train"), ("test", "t10k"))
            for what, dimensions in (("images", 3), ("labels", 1))
        }

    def read(self, files: Files) -> RawSet:
        """See `Source`; there are no single bad samples here, a damaged file is an error."""
        train, test = (_read_part(files[f"{part} images"][0], files[f"{part} labels"][0]) for part in ("train", "test"))
        return RawSet(train=train, test=test, class_names=self.class_names)


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Read an IDX file of unsigned bytes with so many dimensions.

    Raises:
        DataError: the file is unreadable, truncated, or holds something else.
    """
    header = 4 + 4 * dimensions
    try:
        with path.open("rb") as packed, gzip.open(packed) if packed.peek(2)[:2] == _GZIP else packed as file:
            start = file.read(header)
            if len(start) < header or start[:4] != bytes([0, 0, _UNSIGNED_BYTES, dimensions]):
                raise DataError(f"{path} is no IDX file of bytes with {dimensions} dimensions")
            shape = np.frombuffer(start, ">u4", offset=4).tolist()
            expected = prod(shape)
            if not 0 < expected <= _LARGEST:
                raise DataError(f"{path} is damaged: it announces {' x '.join(map(str, shape))} bytes")
            data = file.read(expected)
            found = len(data) + len(file.read(1))
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{path} cannot be read or is truncated ({error})") from error
    if found != expected:
        there = "more" if found > expected else found
        raise DataError(f"{path} is truncated or damaged: {expected} bytes announced, {there} there")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_part(images: Path, labels: Path) -> RawPart:
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(classes):
        raise DataError(f"{images} has {len(pixels)} images, {labels} {len(classes)} labels")
    return RawPart.complete(pixels[:, None], classes)
