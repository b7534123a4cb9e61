"""Data sets of the hub that are read once, as a stream, into tar archives in the cache; whoever was interrupted goes on from there.

CACHE/stream-NAME-<12 hex>/train/00000.tar   2,000 images and their labels, in the layout of WebDataset
CACHE/stream-NAME-<12 hex>/train/00000.json  where the stream was then
CACHE/stream-NAME-<12 hex>/classes.txt       written last: all is there
"""

import hashlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from torchsid.errors import DataError, MissingPackageError, printable
from torchsid.packages import require
from torchsid.tasks import cache
from torchsid.tasks.images.decode import opened, pixels
from torchsid.tasks.images.request import Request

CLASSES = "classes.txt"
_COUNT = 2_000  # images of an archive

Row = tuple[Mapping[str, Any] | None, int]
"""An image as the package has it, and its label."""


def folder(request: Request) -> Path:
    """Return where a data set is kept; with `data.size`, images have that size there.

    Raises:
        DataError: `data.cache` is "off".
    """
    if request.cache == "off":
        raise DataError("data.stream reads a data set once, into the cache: leave data.cache = 'off' out, or name a folder")
    digest = hashlib.sha256(f"{request.name} {request.size}".encode()).hexdigest()
    return cache.folder(request.cache) / f"stream-{re.sub(r'[^A-Za-z0-9]+', '-', request.name)}-{digest[:12]}"


def keep(stream: Any, columns: tuple[str, str], folder: Path, request: Request) -> None:
    """Write what a `datasets.IterableDataset` has and a folder has not yet, archive by archive.

    Args:
        stream: its images are not decoded.
        columns: of the images and of the labels.
        folder: the part's.
        request: the size that images get, if any.

    Raises:
        DataError: the stream breaks off, or nothing can be written; what is written stays.
    """
    number = len([*folder.glob("*.tar")])
    if number:
        stream.load_state_dict(json.loads((folder / f"{number - 1:05}.json").read_text()))
    rows = _rows(stream, columns, request.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while _write(folder / f"{number:05}.tar", rows, number * _COUNT, request.size, stream):
            number += 1
            logging.getLogger(__name__).info("%d images of %s are kept in %s", number * _COUNT, request.name, folder)
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be written ({error.strerror}): set data.cache") from error


def _rows(stream: Any, columns: tuple[str, str], name: str) -> Iterator[Row]:
    try:
        for row in stream:
            image, label = (row[column] for column in columns)
            yield image, -1 if label is None else label
    except Exception as error:  # the package raises errors of every kind
        kept = "what was read is kept: start again to go on from there"
        raise DataError(f"{name} broke off ({type(error).__name__}: {error}); {kept}") from error


def _write(path: Path, rows: Iterator[Row], start: int, size: int, stream: Any) -> bool:
    """Write the next images, and where the stream is then; return whether there may be more."""
    part, count = path.with_suffix(".part"), 0
    with tarfile.open(part, "w") as archive:
        for count, (value, label) in enumerate(islice(rows, _COUNT), 1):
            image = _stored(value, size)
            kind = "png" if image.startswith(b"\x89PNG") else "jpg"
            for end, content in ((kind, image), ("cls", b"%d" % label)):
                member = tarfile.TarInfo(f"{start + count - 1:09}.{end}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    if count:
        path.with_suffix(".json").write_text(json.dumps(stream.state_dict()))
        part.replace(path)
    part.unlink(missing_ok=True)
    return count == _COUNT


def _stored(value: Mapping[str, Any] | None, size: int) -> bytes:
    """Return an image at the size that it will be read at; what cannot be decoded as it is, to be named when it is read."""
    data = b""
    try:
        data = encoded(value) or b""
        if not data or not size:
            return data
        array = pixels(opened(data), size=(size, size))
    except Exception as error:  # decoders raise errors of every kind
        if isinstance(error, MissingPackageError):  # nobody's bad sample
            raise
        return data
    file = io.BytesIO()
    pillow = require("PIL.Image", extra="files", purpose="decoding images")
    pillow.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def encoded(value: Mapping[str, Any] | None) -> bytes | None:
    """Return the bytes of an image that the `datasets` package has not decoded, in its row or in a file of its own."""
    if value is None:
        return None
    data: bytes | None = value["bytes"]
    return Path(value["path"]).read_bytes() if data is None and value["path"] else data
