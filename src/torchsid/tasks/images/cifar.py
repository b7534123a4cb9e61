"""The official Python archives of CIFAR-10 and CIFAR-100, as a folder or a `.tar.gz`.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The files are pickles, a format that can run code when it is read; the
reader here admits nothing but NumPy arrays, lists, dictionaries, strings and numbers, and refuses the rest.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.raw import RawPart, RawSet
from torchsid.tasks.images.sources import Files, OnBadSample, Source

_reconstruct = np.empty(0).__reduce__()[0]  # the function by which NumPy's own pickles make arrays
_ADMITTED: Mapping[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays; anything else is refused before it is looked up."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise DataError(f"asks for {module}.{name}, which no CIFAR file needs: refused") from None


@dataclass(frozen=True)
class CifarArchive(Source):
    """A data set in one of the two archives."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    names: str
    """The file with the names of the classes."""

    def patterns(self) -> Mapping[str, Sequence[str]]:
        """See `Source`; a part is a member of the archive, in the folder, without it, or in the archive itself."""
        return {name: [f"{self.folder}/{name}", name, self.archive] for name in (*self.train, self.test, self.names)}

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """See `Source`; there are no single bad samples here, a damaged file is an error."""
        packed = [name for name, (path,) in files.items() if path.name == self.archive]
        members = self._extract(files[packed[0]][0], packed) if packed else {}
        members |= {name: path.read_bytes() for name, (path,) in files.items() if name not in packed}
        train = [self._batch(name, members[name]) for name in self.train]
        names = _one_of(_unpickle(self.names, members[self.names]), b"label_names", b"fine_label_names")
        if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
            raise DataError(f"{self.names} has no list 'label_names' or 'fine_label_names'")
        return RawSet(
            train=RawPart.complete(*(np.concatenate(arrays) for arrays in zip(*train, strict=True))),
            test=RawPart.complete(*self._batch(self.test, members[self.test])),
            class_names=tuple(name.decode() for name in names),
        )

    def _extract(self, archive: Path, names: Sequence[str]) -> dict[str, bytes]:
        """Return these members; nothing is written to disk."""
        wanted = {f"{self.folder}/{name}": name for name in names}
        try:
            with tarfile.open(archive, "r|*") as tar:
                found = ((wanted[member.name], tar.extractfile(member)) for member in tar if member.name in wanted)
                members = {name: file.read() for name, file in found if file}
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise DataError(f"{archive} is truncated or no tar archive ({error})") from error
        if absent := [name for name, short in wanted.items() if short not in members]:
            raise DataError(f"{archive} lacks {', '.join(absent)}")
        return members

    def _batch(self, name: str, data: bytes) -> tuple[Any, Any]:
        """Return images uint8 `[N, 3, 32, 32]` and labels `[N]` of one file; pixels are stored plane by plane."""
        batch = _unpickle(name, data)
        pixels, labels = batch.get(b"data"), _one_of(batch, b"labels", b"fine_labels")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
            raise DataError(f"{name}: 'data' is no uint8 array [N, 3072]")
        if not isinstance(labels, list) or len(labels) != len(pixels):
            raise DataError(f"{name}: 'labels' or 'fine_labels' is no list with one label for each of {len(pixels)} images")
        return pixels.reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.int64)


def _unpickle(name: str, data: bytes) -> dict[bytes, Any]:
    try:
        value = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except Exception as error:  # damaged pickles raise errors of every kind
        raise DataError(f"{name} is truncated or damaged ({type(error).__name__}: {error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{name} holds no dictionary")
    return value


def _one_of(entries: dict[bytes, Any], *keys: bytes) -> Any:
    """Return what CIFAR-10 or CIFAR-100 has under its name for it."""
    return next((entries[key] for key in keys if key in entries), None)
