"""The official Python archives of CIFAR-10 and CIFAR-100, as a folder or a `.tar.gz`.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The files are pickles, programs for a small machine that may call anything. The
reader here (`_data_of`) knows the few instructions that these files consist of, and neither looks up a name nor calls anything.
"""

import pickletools
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from torchsid.errors import DataError
from torchsid.tasks.images.raw import Pixels, RawPart, RawSet
from torchsid.tasks.images.sources import Files, Source

_LARGEST_MEMBER = 2**30  # bytes; that of CIFAR-100 has 155 million


class _StandIn(Enum):
    """What the archives ask of NumPy; each only marks its place."""

    RECONSTRUCT, NDARRAY, DTYPE, EMPTY_ARRAY, UINT8 = range(5)


_ADMITTED: Mapping[tuple[str, str], _StandIn] = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _StandIn.RECONSTRUCT,
    ("numpy", "ndarray"): _StandIn.NDARRAY,
    ("numpy", "dtype"): _StandIn.DTYPE,
}


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

    def read(self, files: Files) -> RawSet:
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
            class_names=tuple(name.decode("utf-8", "surrogateescape") for name in names),
        )

    def _extract(self, archive: Path, names: Sequence[str]) -> dict[str, bytes]:
        """Return these members; nothing is written to disk."""
        wanted = {f"{self.folder}/{name}": name for name in names}
        try:
            with tarfile.open(archive, "r|*") as tar:
                members: dict[str, bytes] = {}
                for member in tar:
                    if member.name in wanted and (file := tar.extractfile(member)):
                        if member.size > _LARGEST_MEMBER:
                            raise DataError(f"{member.name} has {member.size:,} bytes, far more than any of CIFAR's files")
                        members[wanted[member.name]] = file.read()
        except DataError as error:
            raise DataError(f"{archive}: {error}") from None
        except Exception as error:  # truncated, damaged or forged in any way
            raise DataError(f"{archive} is truncated or no tar archive ({type(error).__name__}: {error})") from error
        if absent := [name for name, short in wanted.items() if short not in members]:
            raise DataError(f"{archive} lacks {', '.join(absent)}")
        return members

    def _batch(self, name: str, data: bytes) -> tuple[Any, Any]:
        """Return images uint8 `[N, 3, 32, 32]` and labels `[N]` of one file; pixels are stored plane by plane."""
        batch = _unpickle(name, data)
        pixels, labels = batch.get(b"data"), _one_of(batch, b"labels", b"fine_labels")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
            raise DataError(f"{name}: 'data' is no uint8 array [N, 3072]")
        if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(label) is int for label in labels):
            raise DataError(f"{name}: 'labels' or 'fine_labels' is no list with one integer for each of {len(pixels)} images")
        if labels and not 0 <= min(labels) <= max(labels) < 256:
            raise DataError(f"{name}: its labels reach from {min(labels)} to {max(labels)}; a class counts from 0")
        return pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


def _unpickle(name: str, data: bytes) -> dict[bytes, Any]:
    try:
        value = _data_of(data)
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except Exception as error:  # damaged pickles raise errors of every kind
        raise DataError(f"{name} is truncated or damaged ({type(error).__name__}: {error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{name} holds no dictionary")
    return value


def _data_of(pickled: bytes) -> Any:
    """Return the dictionaries, lists, strings, numbers and arrays of bytes that a pickle holds.

    Raises:
        DataError: it asks for anything else. Damaged ones raise errors of other kinds.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def since_mark() -> list[Any]:
        mark = marks.pop()
        items = stack[mark:]
        del stack[mark:]
        return items

    for opcode, argument, _ in pickletools.genops(pickled):
        match opcode.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                marks.append(len(stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[opcode.name])
            case "BINSTRING" | "SHORT_BINSTRING":  # bytes of Python 2, which pickletools shows as Latin-1
                stack.append(argument.encode("latin-1"))
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                stack.append(argument)
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode.name == "APPEND" else since_mark()
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode.name == "SETITEM" else since_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_stand_in(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_stand_in(stack.pop(-2), stack.pop()))
            case "REDUCE":
                stack.append(_called(stack.pop(-2), stack.pop()))
            case "BUILD":
                stack.append(_filled(stack.pop(-2), stack.pop()))
            case other:
                raise DataError(f"uses the instruction {other}, which no CIFAR file needs: refused")
    (value,) = stack
    return value


def _stand_in(module: object, name: object) -> _StandIn:
    if (module, name) not in _ADMITTED:
        raise DataError(f"asks for {module}.{name}, which no CIFAR file needs: refused")
    return _ADMITTED[module, name]  # type: ignore[index]


def _called(function: object, arguments: object) -> _StandIn:
    """Return what stands for the result: NumPy makes an empty array and fills it, and likewise a data type."""
    match function, arguments:
        case _StandIn.RECONSTRUCT, (_StandIn.NDARRAY, (0,), b"b"):
            return _StandIn.EMPTY_ARRAY
        case _StandIn.DTYPE, (b"u1" | "u1", _, _):
            return _StandIn.UINT8
    raise DataError("makes something other than an array of bytes, which no CIFAR file needs: refused")


def _filled(value: object, state: object) -> _StandIn | Pixels:
    """Return the array, or the data type as it was."""
    match value, state:
        case _StandIn.UINT8, (3, b"|" | "|", None, None, None, -1, -1, _):
            return _StandIn.UINT8
        case _StandIn.EMPTY_ARRAY, (1, tuple() as shape, _StandIn.UINT8, False, bytes() as pixels):
            return np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    raise DataError("fills something other than an array of bytes, which no CIFAR file needs: refused")


def _one_of(entries: dict[bytes, Any], *keys: bytes) -> Any:
    """Return what CIFAR-10 or CIFAR-100 has under its name for it."""
    return next((entries[key] for key in keys if key in entries), None)
