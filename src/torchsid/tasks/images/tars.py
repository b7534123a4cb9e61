"""Tar archives of which any image can be read at any time: where each lies is found out once.

A sample is what has one key, the name of a member up to the first dot of its last part: `a/7.jpg` and `a/7.cls` are one.
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from torchsid.errors import DataError, printable
from torchsid.tasks.files import Files
from torchsid.tasks.images.encoded import Encoded, unchanged
from torchsid.tasks.packed_names import Names
from torchsid.tasks.splitting import Labels

_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)  # what begins with a dot is nobody's sample
_IMAGES = re.compile(r"avif|bmp|gif|hei[cf]|jfif|jp2|jpe?g?|jxl|p[gnp]m|png|tiff?|webp")
_LABELS = ("label", "class", "cls")
_PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}

Members = Mapping[str, tuple[str, int, int]]
"""Of one key: the name of each kind of member, where its content begins, and its size in bytes."""


class Sample(NamedTuple):
    """An image in an archive."""

    name: str
    """Of its member."""
    label: str
    """As it is written."""
    start: int
    """Where it begins in the archive, in bytes."""
    size: int
    """In bytes."""


class Archive(NamedTuple):
    """What an archive has: samples, what is wrong with others, and what else is worth saying, a sentence each."""

    samples: list[Sample]
    problems: list[str]
    remarks: list[str]


def index(path: Path) -> Archive:
    """Return what an archive has.

    Raises:
        DataError: it is compressed, and so nothing in it can be read alone.
        OSError: it cannot be read.
    """
    samples, problems = dict[str, dict[str, tuple[str, int, int]]](), dict[str, str]()
    found, damage, remarks = list[Sample](), list[str](), list[str]()
    with path.open("rb") as file:
        begin = file.read(8)
        for tool in (tool for magic, tool in _PACKED.items() if begin.startswith(magic)):
            raise DataError(f"{printable(str(path))} is compressed, so no image in it can be read alone: unpack it ({tool})")
        file.seek(0)
        for name, start, size in _members(file, damage, remarks):
            if match := _MEMBER.fullmatch(name):
                key, kind = match[1], match[2].lower()
                if kind in samples.setdefault(key, {}):
                    problems[key] = f"{name} is there twice"
                samples[key][kind] = name, start, size
        for key, members in samples.items():
            sample = _sample(file, members)
            if isinstance(sample, str):
                problems.setdefault(key, f"{key} {sample}")
            elif key not in problems:
                found.append(sample)
    problems_, remarks = ([f"{path.name}: {said}" for said in sentences] for sentences in ((*damage, *problems.values()), remarks))
    return Archive(found, problems_, remarks)


def _members(file: BinaryIO, damage: list[str], remarks: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and size of each file in an archive; says where it is damaged, if it is."""
    links, end = 0, 0
    try:
        with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else all stay in memory
                if member.isreg() and not member.issparse():
                    yield member.name, member.offset_data, member.size
                elif not member.isdir():
                    links += 1
                end = archive.offset
            rest = os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset)
            if rest.strip(b"\0"):
                damage.append(f"damaged from byte {archive.offset} on")
            elif not rest:
                remarks.append("has no end mark, and may have been cut short")
    except (tarfile.TarError, OSError) as error:
        damage.append(f"damaged or cut short behind byte {end} ({error})")
    if links:
        remarks.append(f"links and other members without content: {links} left out")


def _sample(file: BinaryIO, members: Members) -> Sample | str:
    """Return what the members of one key are, or what is wrong with them."""
    images = [members[kind] for kind in members if _IMAGES.fullmatch(kind)]
    if len(images) != 1:
        return "has several images" if images else "has no image"
    label: Any = None
    with suppress(ValueError):
        if "cls" in members:
            label = _content(file, members["cls"]).decode().strip()
        elif "json" in members and isinstance(said := json.loads(_content(file, members["json"])), dict):
            label = next((said[name] for name in _LABELS if name in said), None)
    if label in (None, "") or not isinstance(label, int | str):
        return "has no label (.cls, or label or class in .json)"
    name, start, size = images[0]
    return Sample(name, str(label), start, size)


def _content(file: BinaryIO, member: tuple[str, int, int]) -> bytes:
    _, start, size = member
    return os.pread(file.fileno(), size, start)


@dataclass(frozen=True, eq=False)
class TarImages(Encoded):
    """Images in archives, one archive after another.

    Attributes:
        root: the folder of the archives.
        archives: their names, sizes and times.
        names: of the images' members.
        places: of each image the number of its archive, where it begins and its size, in bytes; int64 `[N, 3]`.
    """

    root: Path
    archives: Files
    names: Names
    places: Labels

    def __len__(self) -> int:
        return len(self.places)

    def read(self, i: int) -> bytes:
        """See `Encoded`."""
        archive, start, size = self.places[i].tolist()
        path = self.root / self.archives.names[archive]
        with unchanged(path, self.archives.sizes[archive], self.archives.times[archive]) as file:
            return os.pread(file.fileno(), size, start)

    def where(self, i: int) -> str:
        """See `Encoded`."""
        return printable(f"{self.archives.names[int(self.places[i, 0])]}: {self.names[i]}")

    @property
    def shards(self) -> Labels:
        """See `Encoded`: the archives."""
        return self.places[:, 0]


def twice(images: TarImages, labels: Labels) -> Labels:
    """Return which images are, with name, label and content, in an earlier archive already, int64 `[n]`."""
    names = zip(images.names, labels.tolist(), images.places[:, 2].tolist(), strict=True)
    marks = np.fromiter(map(hash, names), dtype=np.int64, count=len(images))
    order = np.argsort(marks, kind="stable")
    alike = np.flatnonzero(marks[order][1:] == marks[order][:-1])
    return np.sort(order[1:][[i for i in alike.tolist() if images.read(int(order[i])) == images.read(int(order[i + 1]))]])
