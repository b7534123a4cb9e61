"""What a source of a named data set is: it finds its files below a folder and reads them. The first complete one counts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from torchsid.errors import DataError
from torchsid.tasks.images import cache
from torchsid.tasks.images.raw import RawSet

Files = Mapping[str, Sequence[Path]]
"""The files of each part (`"train"`, `"test"`, …) in the order to read them; a part that was not found is empty."""

OnBadSample = Literal["error", "skip"]


class Source(Protocol):
    """One way to store a data set."""

    @property
    def decoding_is_slow(self) -> bool:
        """Whether the decoded images are worth a cache."""

    def patterns(self) -> Sequence[str]:
        """Return what is looked for, for the message when nothing is found."""

    def find(self, root: Path) -> Files:
        """Return the files under `root`."""

    def read(self, files: Files, on_bad_sample: OnBadSample) -> RawSet:
        """Read them.

        Raises:
            DataError: a file is damaged; names it, and the row.
        """


def first_match(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files of the first pattern that matches any, sorted by name."""
    for pattern in patterns:
        if found := sorted(path for path in root.glob(pattern) if path.is_file()):
            return found
    return []


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a data set; the settings of the task that have to do with reading."""

    name: str
    path: str = ""
    on_bad_sample: OnBadSample = "error"
    cache: str = ""


def read_files(request: Request, *sources: Source, one_fingerprint: bool = False, advice: str = "") -> RawSet:
    """Read a data set from its files, from the cache of decoded images where that is worth it.

    Args:
        request: where the files lie, and what a damaged one does.
        sources: the ways in which the data set may be stored, tried in this order.
        one_fingerprint: give one SHA-256 for all files together: a record of a run needs no line for each of a folder's.
        advice: where such files come from, for the message when there are none.

    Raises:
        DataError: the files are not found (says what was looked for) or are damaged.
    """
    advice = f"; {advice}" if advice else ""
    if not request.path:
        raise DataError(f"{request.name} is read from local files: set data.path to their folder{advice}")
    root = Path(request.path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} (data.path) is no folder{advice}")
    found: list[str] = []
    for source in sources:
        files = source.find(root)
        if all(files.values()):
            hashes = fingerprints(files, root)
            raw = _read(request, source, files, hashes)
            return replace(raw, files=_one(hashes) if one_fingerprint else hashes)
        found += [path.name for part in files.values() for path in part]
    looked_for = "".join(f"\n  - {pattern}" for source in sources for pattern in source.patterns())
    what = f"no complete {request.name}, only {', '.join(found)}," if found else f"no files of {request.name}"
    raise DataError(f"{what} in {root} (data.path){advice}; looked for:{looked_for}")


def fingerprints(files: Files, root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by its path under `root`."""
    paths = sorted({path for part in files.values() for path in part})
    return {path.relative_to(root).as_posix(): file_sha256(path) for path in paths}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(request: Request, source: Source, files: Files, hashes: Mapping[str, str]) -> RawSet:
    build = partial(source.read, files, request.on_bad_sample)
    if not source.decoding_is_slow:
        return build()
    key = {**hashes, "on_bad_sample": request.on_bad_sample}
    return cache.remember(cache.folder(request.cache), request.name, key, build)


def _one(hashes: Mapping[str, str]) -> dict[str, str]:
    """Return one SHA-256 for all files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    return {f"{len(hashes)} images": hashlib.sha256(lines.encode()).hexdigest()}
