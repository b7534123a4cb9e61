"""Decoded images on disk, so that they are decoded once, and memory need not hold them.

An entry is a folder, named after what its pixels follow from:

    pixels.u8    uint8 `[N, C, H, W]`: image i is row i; one that cannot be used is blank
    sums.i64     int64 `[N, C, 2]`: of every image the sum of its pixels and of their squares
    index.jsonl  a line of what they are, a line for each chunk of rows with its CRC-32 and what is wrong with its images, and at
                 the end the SHA-256 of all lines before

While it is built its name ends in `.part`, and the index is the journal of what is done: whoever builds it next goes on from there.
"""

import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from torchsid.durable import replaced
from torchsid.show.tables import duration
from torchsid.tasks.cache import locked
from torchsid.tasks.images.raw import Pixels, Sums
from torchsid.tasks.progress import Progress, bounded, cores, say, volume
from torchsid.tasks.splitting import Labels

Shape = tuple[int, int, int]
"""Channels, height and width."""
Bad = Mapping[int, str | Shape]
"""Which images cannot be used: what is wrong, or their shape where it is another than that of most."""

_PIXELS, _SUMS, _INDEX = "pixels.u8", "sums.i64", "index.jsonl"
_CHUNK = 2**22  # bytes of pixels that are decoded by one thread, and written at once
_LOOKED_AT = 2**27  # bytes that are compared with their checksums when an entry is opened
_MANY, _TIMED = 4096, 256  # of more images than this it is said how long they take, by what so many of them take


class Chunk(NamedTuple):
    """Some images, decoded."""

    pixels: Pixels
    """`[n, C, H, W]`, blank where they are bad."""
    sums: Sums
    """`[n, C, 2]`, −1 likewise."""
    bad: Bad
    several: Sequence[int]
    """Which images are the first of several pictures."""


class Work(ABC):
    """How an entry is made."""

    name: str
    """What the images are called."""
    count: int
    """N, the number of images."""
    rows: Labels
    """Those that are decoded, int64, increasing."""
    channels: int | None
    """What is decoded to; None: to grey as long as nothing has colours."""
    keeps_pixels: bool
    """Whether pixels are kept, or only what is found out about them."""
    keeps_bad: bool
    """Whether bad images are left blank, so that all are tried, or tried again the next time."""

    @abstractmethod
    def shape(self) -> Shape:
        """Return the shape that images must have; looks at some of them."""

    @abstractmethod
    def decode(self, rows: Labels, shape: Shape) -> Chunk:
        """Decode some images.

        Raises:
            Colour: without `channels`, one has colours and the shape is grey.
        """


class Colour(Exception):  # noqa: N818 - no error, but a reason to begin anew
    """An image has colours in a set that was taken for grey."""


class Full(OSError):  # noqa: N818 - it says what is wrong
    """A disk is too small for an entry; nothing was written."""


class Record(NamedTuple):
    """What the index says of a chunk, in a line."""

    number: int
    crc: int
    bad: Bad
    several: Sequence[int]

    def line(self) -> bytes:
        """Return it as JSON."""
        return _line([self.number, self.crc, [*self.bad.items()], [*self.several]])

    @staticmethod
    def of(number: int, crc: int, bad: Sequence[tuple[int, Any]], several: Sequence[int]) -> "Record":
        """Return what was written."""
        return Record(number, crc, {i: what if isinstance(what, str) else tuple(what) for i, what in bad}, several)


@dataclass(frozen=True)
class Index:
    """What is known of decoded images: the shape of one, and of every chunk that is done what was found."""

    shape: Shape
    done: dict[int, Record] = field(default_factory=dict)

    @property
    def bad(self) -> dict[int, str | Shape]:
        """All that cannot be used."""
        return {i: what for _, record in sorted(self.done.items()) for i, what in record.bad.items()}

    @property
    def several(self) -> list[int]:
        """All that are the first of several pictures."""
        return [i for _, record in sorted(self.done.items()) for i in record.several]


@dataclass(frozen=True)
class Entry:
    """What is known of decoded images, their sums, and their pixels: in a file, in memory, or not kept."""

    index: Index
    sums: Sums
    pixels: Path | Pixels | None


def stored(path: Path, work: Work) -> Entry:
    """Return the entry at `path`, which is made first where it is not there; what is damaged of it is made again.

    Where images are bad and `work` does not keep such, the entry says which, stays unfinished, and has no pixels.

    Raises:
        Full: the disk is too small.
        OSError: it cannot be written.
        Colour: see `Work.decode`.
    """
    part = path.with_name(f"{path.name}.part")
    while (found := _opened(path, work)) is None:
        with locked(path):
            if found := _opened(path, work):  # another process has made it meanwhile
                return found
            if path.exists():  # damaged, but maybe not all of it
                shutil.rmtree(part, ignore_errors=True)
                path.rename(part)
            part.mkdir(exist_ok=True)
            index = _build(part, work)
            if index.bad and not work.keeps_bad:
                return Entry(index, _unknown(work, index.shape), None)
            part.rename(path)
    return found


def in_memory(work: Work) -> Entry:
    """Return an entry that is nowhere but in memory; raises `Colour` as `stored`."""
    index = Index(work.shape())
    pixels = np.zeros((work.count, *index.shape), dtype=np.uint8) if work.keeps_pixels else None
    sums, chunks = _unknown(work, index.shape), _chunks(work, index.shape)
    for number, chunk in _decoded(work, index.shape, dict(enumerate(chunks))):
        if pixels is not None:
            pixels[chunks[number]] = chunk.pixels
        sums[chunks[number]] = chunk.sums
        index.done[number] = Record(number, 0, chunk.bad, chunk.several)
    return Entry(index, sums, pixels)


def _chunks(work: Work, shape: Shape) -> list[Labels]:
    """Return the rows of every chunk."""
    rows, count = work.rows, _chunk_size(shape)
    return [rows[start : start + count] for start in range(0, len(rows), count)]


def _chunk_size(shape: Shape) -> int:
    return max(1, min(1024, _CHUNK // prod(shape)))


def _files(work: Work, shape: Shape) -> dict[str, int]:
    """Return the files that have something of every decoded image, and how many bytes."""
    return ({_PIXELS: prod(shape)} if work.keeps_pixels else {}) | {_SUMS: 2 * 8 * shape[0]}


def _unknown(work: Work, shape: Shape) -> Sums:
    return np.full((work.count, shape[0], 2), -1, dtype=np.int64)


def _decoded(work: Work, shape: Shape, chunks: Mapping[int, Labels]) -> Iterator[tuple[int, Chunk]]:
    """Yield chunks with their numbers, decoded on all cores: Pillow releases the interpreter's lock, so threads do."""
    progress = Progress(f"decoding the images of {work.name}", sum(map(len, chunks.values())))
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # of Pillow: a large panorama, odd metadata; what cannot be read is an error anyway
        for number, chunk in bounded(pool, lambda number: (number, work.decode(chunks[number], shape)), chunks):
            progress.add(len(chunks[number]))
            yield number, chunk


def _announce(part: Path, work: Work, shape: Shape, missing: Mapping[int, Labels]) -> None:
    """Say what will be written and how long it may take; a `Full` where the disk is too small."""
    count = sum(map(len, missing.values()))
    needed, free = count * sum(_files(work, shape).values()), shutil.disk_usage(part).free
    if needed > free:
        raise Full(f"{volume(needed)} are needed in {part.parent}, {volume(free)} are free")
    if count > _MANY:
        some = np.concatenate([*missing.values()])[:: -(-count // _TIMED)]
        began = time.monotonic()
        for _ in _decoded(work, shape, dict(enumerate(np.array_split(some, 4 * cores())))):
            pass
        seconds = duration((time.monotonic() - began) * count / len(some))
        kept = f"{volume(needed)} are kept in {part.with_suffix('')}, {volume(free)} are free" if work.keeps_pixels else "once"
        say("decoding the %d images of %s: about %s on %d cores; %s", count, work.name, seconds, cores(), kept)


def _build(part: Path, work: Work) -> Index:
    """Complete what is there of an entry, of which nothing is trusted before its checksum was seen."""
    index, _ = _read(part / _INDEX) or (None, False)
    if index is None or index.shape[0] != (work.channels or index.shape[0]):
        index = Index(work.shape())
    chunks = _chunks(work, index.shape)
    there = [number for number, record in index.done.items() if number < len(chunks) and (work.keeps_bad or not record.bad)]
    damaged = _damaged(part, work, index, there)
    index = Index(index.shape, {number: index.done[number] for number in there if number not in damaged})
    missing = {number: rows for number, rows in enumerate(chunks) if number not in index.done}
    _announce(part, work, index.shape, missing)
    lines = [_line([*index.shape]), *(record.line() for record in index.done.values())]
    with replaced(part / _INDEX) as journal:
        journal.writelines(lines)
    widths = _files(work, index.shape)
    with ExitStack() as opened:
        journal, *files = (opened.enter_context(_to_write(part / name)) for name in (_INDEX, *widths))
        journal.seek(0, os.SEEK_END)
        for file, width in zip(files, widths.values(), strict=True):
            file.truncate(len(work.rows) * width)
        for number, chunk in _decoded(work, index.shape, missing):
            contents = [content.reshape(-1).view(np.uint8).data for content in (chunk.pixels, chunk.sums)[-len(files) :]]
            for file, width, content in zip(files, widths.values(), contents, strict=True):
                file.seek(number * _chunk_size(index.shape) * width)
                file.write(content)
                file.flush()
            index.done[number] = record = Record(number, _crc(contents), chunk.bad, chunk.several)
            if work.keeps_bad or not record.bad:
                lines.append(record.line())
                journal.write(lines[-1])
                journal.flush()
        for file in files:
            os.fsync(file.fileno())
        if work.keeps_bad or not index.bad:
            journal.write(_line({"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}))
            journal.flush()
            os.fsync(journal.fileno())
    return index


def _opened(path: Path, work: Work) -> Entry | None:
    """Return what is there, if it is complete and nothing seems to be damaged."""
    index, complete = _read(path / _INDEX) or (None, False)
    if index is None or not complete:
        return None
    widths, chunks = _files(work, index.shape), _chunks(work, index.shape)
    some = np.linspace(0, len(chunks) - 1, min(len(chunks), 1 + _LOOKED_AT // _CHUNK)).astype(int).tolist()
    try:
        if any((path / name).stat().st_size != width * len(work.rows) for name, width in widths.items()):
            return None
        if len(index.done) != len(chunks) or _damaged(path, work, index, some):
            return None
        sums = _unknown(work, index.shape)
        sums[work.rows] = np.fromfile(path / _SUMS, dtype=np.int64).reshape(len(work.rows), -1, 2)
    except OSError:
        return None
    return Entry(index, sums, path / _PIXELS if work.keeps_pixels else None)


def _damaged(path: Path, work: Work, index: Index, numbers: Sequence[int]) -> set[int]:
    """Return which of some chunks are not what the index says."""
    widths, count = _files(work, index.shape), _chunk_size(index.shape)

    def differs(number: int) -> bool:
        contents = []
        for name, width in widths.items():
            with (path / name).open("rb") as file:
                file.seek(number * count * width)
                contents.append(file.read(width * min(count, len(work.rows) - number * count)))
        return _crc(contents) != index.done[number].crc

    if not all((path / name).is_file() for name in widths):
        return set(numbers)
    with ThreadPoolExecutor(cores()) as pool:
        return {number for number, found in zip(numbers, pool.map(differs, numbers), strict=True) if found}


def _crc(contents: Iterable[bytes | memoryview]) -> int:
    crc = 0
    for content in contents:
        crc = zlib.crc32(content, crc)
    return crc


def _line(record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _read(path: Path) -> tuple[Index, bool] | None:
    """Return what an index says as far as it can be read, and whether it is whole; None where there is none."""
    digest = hashlib.sha256()
    index: Index | None = None
    complete = False
    try:
        for line in path.read_bytes().splitlines(keepends=True):
            record = json.loads(line)
            if index is None:
                channels, height, width = map(int, record)
                index = Index((channels, height, width))
            elif isinstance(record, dict):
                complete = record["sha256"] == digest.hexdigest()
            else:
                found = Record.of(*record)
                index.done[found.number], complete = found, False
            digest.update(line)
    except Exception:  # absent, cut off, or damaged in any way
        complete = False
    return None if index is None else (index, complete)


def _to_write(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")
