"""From the images that a source has listed to inputs: decoded once into the cache, in memory, or each time anew."""

import hashlib
import json
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np
import torch

from torchsid.errors import DataError, MissingPackageError, bullets
from torchsid.tasks import cache
from torchsid.tasks.images import store
from torchsid.tasks.images.decode import named, opened, pixels, problem_of
from torchsid.tasks.images.decoder import Decoder
from torchsid.tasks.images.encoded import Catalogue, ChangedError, Encoded
from torchsid.tasks.images.raw import Pixels, RawPart, RawSet, sums_of
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.scan import listing
from torchsid.tasks.images.store import Bad, Chunk, Colour, Entry, Shape, Work
from torchsid.tasks.packed_names import Names
from torchsid.tasks.progress import cores, volume
from torchsid.tasks.splitting import Labels
from torchsid.tasks.stored import Reader, RowFile, Stored, Windowed

_FORMAT = 4  # raise it when what is stored, or how images are decoded, changes
_PROBED = 1_000  # images that decide upon the usual shape
_MEASURED = 2_000  # images whose pixels are added up where none are kept


def decoded(catalogue: Catalogue, request: Request) -> RawSet:
    """Return the images of a source as samples.

    They are decoded once, into the cache; without one (`cache = "off"`) whenever they are needed. Where the cache cannot be
    written they are held in memory, if they fit.

    Raises:
        DataError: labels are no classes. Images are bad and `on_bad_sample` is "error", or none is good; names them. The cache
            cannot be written, and all is too much for the memory.
    """
    wrong = np.flatnonzero((catalogue.labels < 0) | (catalogue.labels >= len(catalogue.class_names)))
    if len(wrong):
        first = f"the first is {catalogue.labels[wrong[0]]}, of {catalogue.images.where(int(wrong[0]))}"
        raise DataError(f"{len(wrong)} labels of {request.name} are outside 0 … {max(0, len(catalogue.class_names) - 1)}: {first}")
    words = json.dumps([_FORMAT, sorted(catalogue.files.items()), len(catalogue.images), catalogue.channels, request.size])
    key = hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
    work = Decoding(
        name=request.name,
        images=catalogue.images,
        channels=catalogue.channels,
        size=request.size,
        keeps_pixels=request.cache != cache.OFF,
        keeps_bad=request.on_bad_sample == "skip",
    )
    try:
        entry = _entry(work, request, key)
    except Colour:
        work = replace(work, channels=3)
        entry = _entry(work, request, key)
    index, count = entry.index, work.count
    bad, good = index.bad, np.ones(count, dtype=bool)
    good[list(bad)] = False
    ends = dict(zip(catalogue.parts, accumulate(catalogue.parts.values()), strict=True))
    none_good = any(size and not good[ends[name] - size : ends[name]].any() for name, size in catalogue.parts.items())
    if bad and (request.on_bad_sample == "error" or none_good):
        raise _bad_samples(catalogue.images, bad, index.shape, f"{count} images", to_skip=not none_good)
    kept = entry.pixels
    inputs = kept if isinstance(kept, np.ndarray) else Stored(_reader(kept, work, index.shape, request), torch.arange(count))
    names = None if catalogue.names is None else Names.of(catalogue.names)
    parts: dict[str, RawPart] = {}
    for name, size in catalogue.parts.items():
        end = ends[name]
        rows = end - size + np.flatnonzero(good[end - size : end])
        whole = slice(end - size, end) if len(rows) == size else rows
        images = inputs.subset(torch.from_numpy(rows)) if isinstance(inputs, Stored) else inputs[whole]
        parts[name] = RawPart(images, catalogue.labels[whole], rows - (end - size), names and names[rows], entry.sums[whole])
    if "test" not in parts and catalogue.divide is not None:
        parts["train"], parts["test"] = map(parts["train"].take, catalogue.divide(parts["train"].labels))
    notes = [*catalogue.notes]
    if index.several:
        first = listing(catalogue.images.where(i) for i in index.several)
        notes.append(f"images of several pictures, of which the first is read: {len(index.several)} ({first})")
    notes += _sentences(catalogue.images, bad, index.shape)
    return RawSet(**parts, class_names=catalogue.class_names, skipped=tuple(notes), files=catalogue.files, key=key)


@dataclass(frozen=True, kw_only=True)
class Decoding(Work):
    """How images are decoded; see `store.Work`.

    Attributes:
        images: that are to be decoded.
        size: side in pixels that every image gets, 0 leaves all as they are.
    """

    name: str
    images: Encoded
    channels: int | None
    size: int
    keeps_pixels: bool
    keeps_bad: bool

    @property
    def count(self) -> int:  # type: ignore[override]
        """N, the number of images."""
        return len(self.images)

    @property
    def rows(self) -> Labels:  # type: ignore[override]
        """Which images are decoded: all, but where neither pixels nor faults of all are asked for, some evenly spread."""
        return np.arange(self.count) if self.keeps_pixels or self.keeps_bad else _spread(self.count, _MEASURED)

    def shape(self) -> Shape:
        """Return the shape of most images of up to 1,000 that are evenly spread; colour counts for all where any has it."""
        if self.channels and self.size:
            return self.channels, self.size, self.size
        rows = _spread(self.count, _PROBED).tolist()
        with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
            warnings.simplefilter("ignore")  # as when they are decoded
            found = dict(zip(rows, pool.map(lambda i: self._shape_of(i), rows), strict=True))
        shapes = [shape for shape in found.values() if not isinstance(shape, str)]
        if not shapes and rows:
            tried = f"{len(rows)} images" + (f" tried, of {self.count}," if len(rows) < self.count else "")
            raise _bad_samples(self.images, found, (1, 1, 1), tried)
        colour = 3 in {channels for channels, _, _ in shapes}
        usual = Counter((3 if colour else channels, height, width) for channels, height, width in shapes).most_common(1)
        return usual[0][0] if usual else (1, 1, 1)

    def decode(self, rows: Labels, shape: Shape) -> Chunk:
        """Decode some images; see `store.Work`."""
        good, bad, several = np.zeros((len(rows), *shape), dtype=np.uint8), dict[int, str | Shape](), list[int]()
        channels = self.channels or (None if shape[0] == 1 else 3)
        for place, i in enumerate(rows.tolist()):
            image = self._image(i, channels, several)
            if isinstance(image, str):
                bad[i] = image
            elif channels is None and len(image) == 3:
                raise Colour
            elif image.shape != shape:
                bad[i] = image.shape
            else:
                good[place] = image
        sums = sums_of(good)
        sums[np.isin(rows, [*bad])] = -1
        return Chunk(good, sums, bad, several)

    def _image(self, i: int, channels: int | None, several: list[int]) -> Pixels | str:
        """Return the pixels of an image, or what is wrong with it; a DataError where it is no longer what was listed."""
        try:
            image = opened(self.images.read(i))
            if getattr(image, "is_animated", False) and image.format != "MPO":  # a telephone's photo has a small copy in it
                several.append(i)
            return pixels(image, channels, (self.size, self.size) if self.size else None)
        except ChangedError as error:
            raise DataError(f"{self.images.where(i)}: {error}; start again when the files stay as they are") from None
        except Exception as error:  # decoders raise errors of every kind
            if isinstance(error, MissingPackageError):  # nobody's bad sample
                raise
            return problem_of(error)

    def _shape_of(self, i: int) -> Shape | str:
        image = self._image(i, self.channels, [])
        return image if isinstance(image, str) else image.shape


def _reader(file: Path | None, work: Decoding, shape: Shape, request: Request) -> Reader:
    """Return what reads decoded images from a file, or decodes them whenever they are read."""
    shards, window = work.images.shards, request.window
    if not file and work.images.read_by_shard and not window:
        advice = "set data.window, such as to 10000, so that few groups are read at a time, or let data.cache keep what is decoded"
        raise DataError(f"data.cache = 'off': of these files only whole groups of rows can be read, one for every image; {advice}")
    reader = RowFile(file, shape) if file else _decoder(work, shape, request)
    return Windowed(reader, torch.from_numpy(shards), window) if window and shards is not None else reader


def _decoder(work: Decoding, shape: Shape, request: Request) -> Decoder:
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that train on this machine
    return Decoder(
        images=work.images,
        shape=shape,
        channels=work.channels or (None if shape[0] == 1 else 3),
        resizes=bool(work.size),
        smallest_crop=request.smallest_crop,
        workers=max(1, cores() // beside) if request.workers == "auto" else request.workers,
    )


def _entry(work: Decoding, request: Request, key: str) -> Entry:
    way = "pixels" if work.keeps_pixels else "faults" if work.keeps_bad else "some"
    path = cache.entry(request.cache, request.name, key, way)
    try:
        return store.stored(path, work)
    except OSError as error:
        what = "decoded images" if work.keeps_pixels else "faults and sums of the images"
        problem = f"the {what} of {request.name} cannot be stored ({error})"
    needed = work.count * prod(work.shape()) if work.keeps_pixels else 0
    if needed > request.memory_bytes:
        way_out = f"set data.cache to a folder with {volume(needed)}, or to {cache.OFF!r}, or raise data.memory"
        raise DataError(f"{problem}, and are too many for data.memory ({volume(request.memory_bytes)}): {way_out}")
    instead = "held in memory: set data.cache" if work.keeps_pixels else "looked for at each start: set XDG_CACHE_HOME"
    warnings.warn(f"{problem} and are {instead}", RuntimeWarning, stacklevel=2)
    return store.in_memory(work)


def _spread(count: int, most: int) -> Labels:
    """Return up to `most` of so many indices, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _sentences(images: Encoded, bad: Bad, usual: Shape) -> list[str]:
    return [
        f"{images.where(i)}: {what if isinstance(what, str) else f'is {named(what)}, most others are {named(usual)}'}"
        for i, what in bad.items()
    ]


def _bad_samples(images: Encoded, bad: Bad, usual: Shape, among: str, *, to_skip: bool = False) -> DataError:
    """Return the error that names the first bad images, and what to do."""
    advice = "; data.on_bad_sample = 'skip' leaves them out" if to_skip else ""
    if not all(isinstance(what, str) for what in bad.values()):
        advice += ", data.size = 128 would make all 128 pixels high and wide"
    return DataError(f"{len(bad)} of {among} cannot be used{advice}:{bullets(_sentences(images, bad, usual))}")
