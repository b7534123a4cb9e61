"""Images as their files hold them, before anything is decoded: what every source of files finds."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from torchsid.errors import DataError
from torchsid.tasks.splitting import Labels


class ChangedError(DataError):
    """A file has gone, or has changed, since its images were listed: no bad sample, for what was listed is not what is there."""


def unchanged(path: str | os.PathLike[str], size: int, time: int) -> BinaryIO:
    """Open a file that was listed with a size in bytes and a time in nanoseconds, −1 where it could not be looked at.

    Raises:
        ChangedError: it has gone, or is of another size or time.
        OSError: it cannot be read.
    """
    try:
        file = open(path, "rb")  # noqa: PTH123, SIM115 - for each of millions; the caller closes it
    except FileNotFoundError:
        if time < 0:
            raise
        raise ChangedError("has gone since it was listed") from None
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (size, time):
        file.close()
        raise ChangedError("has changed since it was listed")
    return file


class Encoded(ABC):
    """Encoded images by number, from 0, any of which can be read at any time, also by another process (it can be pickled)."""

    read_by_shard: ClassVar[bool] = False
    """Whether reading an image means to read the whole of its shard."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, i: int) -> bytes | None:
        """Return the encoded image; None where there is none.

        Raises:
            ChangedError: its file has gone, or has changed since it was listed.
            OSError: it cannot be read.
        """

    @abstractmethod
    def where(self, i: int) -> str:
        """Name image i in messages, such as `train/cat/7.jpg` or `cifar10-train.parquet, row 12`."""

    @property
    def shards(self) -> Labels | None:
        """Which file or group of rows each image lies in, int64 `[N]`, where those of one are cheaper to read together."""
        return None


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What a source has found.

    Attributes:
        images: of all parts, one after another.
        labels: of every image, int64 `[N]`.
        parts: how many images `train`, `test` and maybe `validation` have, in the order in which they come.
        names: of every image, where they have any.
        class_names: of the labels.
        channels: that every image gets; None: 1 where all are grey, else 3.
        notes: what was left out, or read otherwise than it may seem, a sentence each.
        files: SHA-256 of everything read, by name: what a run remembers of its data.
        divide: where there is no test part: from the labels of the training images that can be used to the indices of those that
            stay and those that become the test part.
    """

    images: Encoded
    labels: Labels
    parts: Mapping[str, int]
    names: Sequence[str] | None = None
    class_names: tuple[str, ...]
    channels: int | None = None
    notes: tuple[str, ...] = ()
    files: Mapping[str, str]
    divide: Callable[[Labels], tuple[Labels, Labels]] | None = None
