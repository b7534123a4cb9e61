"""The SHA-256 of files, remembered in the cache, so that what has not changed since is not read again."""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchsid.durable import replaced
from torchsid.tasks import cache
from torchsid.tasks.files import File, Files
from torchsid.tasks.packed_names import Names
from torchsid.tasks.progress import Progress, bounded, cores

RECENT = 2 * 10**9  # nanoseconds: what was changed so short a time ago may change again within one tick of its file system's clock
_TOGETHER = 64  # files that are read by one thread

Hashes = NDArray[np.uint8]
"""SHA-256 of files, `[N, 32]`."""


def sha256s(setting: str, name: str, root: Path, files: Files, chosen_by: object = "") -> Hashes:
    """Return the SHA-256 of the content of files below a folder.

    A file is not read where name, size and time are those of an earlier start. One that cannot be read has that of the reason.

    Args:
        setting: where the cache is; see `cache.folder`.
        name: of the data set.
        root: the folder.
        files: in it.
        chosen_by: what says which files of it these are, if not all.
    """
    ledger = cache.entry(setting, f"{name}-files", str(root.absolute()), chosen_by).with_suffix(".npz")
    hashes, known = _known(ledger, files)
    if known.all():
        return hashes
    with ExitStack() as held:
        with suppress(OSError):  # a cache that cannot be written: each process reads for itself
            held.enter_context(cache.locked(ledger))
        hashes, known = _known(ledger, files)  # another process may have read them meanwhile
        now = time.time_ns()
        try:
            _read(name, root, files, hashes, known)
        finally:
            trusted = known & (files.times < now - RECENT)
            with suppress(OSError):  # then they are read again the next time
                _write(ledger, files, np.where(trusted, files.times, -1), hashes)
    return hashes


def of_few(setting: str, name: str, root: Path, paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of some files below a folder, in hexadecimal; see `sha256s`.

    A file that is rewritten counts as changed even where somebody sets its time back.
    """

    def known(path: Path) -> File:
        status = path.stat()
        return File(path.relative_to(root).as_posix(), status.st_size, max(status.st_mtime_ns, status.st_ctime_ns))

    files = Files.of(map(known, paths))
    return [bytes(digest).hex() for digest in sha256s(setting, name, root, files, chosen_by=[*files.names])]


def _read(name: str, root: Path, files: Files, hashes: Hashes, known: NDArray[np.bool_]) -> None:
    """Complete the hashes of files, and say of which they are known from now on: of those that could be read."""
    left = np.flatnonzero(~known)
    progress = Progress(f"reading the files of {name}, to know them again", int(files.sizes[left].clip(0).sum()))
    together = _TOGETHER if len(left) > 1000 else 1
    groups = [left[start : start + together] for start in range(0, len(left), together)]
    with ThreadPoolExecutor(cores()) as pool:
        for group, found in bounded(pool, lambda group: (group, [_sha256(root / files.names[i]) for i in group.tolist()]), groups):
            for i, (digest, readable) in zip(group.tolist(), found, strict=True):
                hashes[i], known[i] = np.frombuffer(digest, dtype=np.uint8), readable
            progress.add(int(files.sizes[group].clip(0).sum()))


def of_all(files: Files, hashes: Hashes) -> str:
    """Return one SHA-256 of the names and contents of files: a record of a run needs no line for each of a folder's."""
    digest = hashlib.sha256(files.names.text)
    for array in (files.names.spans, hashes):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _sha256(path: Path) -> tuple[bytes, bool]:
    """Return the SHA-256 of a file, or of why it cannot be read, and whether it can."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest(), True
    except OSError as error:  # a link that leads nowhere, or a file of somebody else: a bad sample, when it is decoded
        return hashlib.sha256(f"unreadable: {error.strerror}".encode()).digest(), False


def _known(ledger: Path, files: Files) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return what the ledger knows of files, and of which it does."""
    count = len(files.names)
    hashes, known = np.zeros((count, 32), dtype=np.uint8), np.zeros(count, dtype=bool)
    try:
        with ledger.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            text, spans, sizes, times, before = (stored[name] for name in ("text", "spans", "sizes", "times", "hashes"))
        names = Names(text.tobytes(), spans)
        if names.text == files.names.text and np.array_equal(spans, files.names.spans):
            new = old = np.arange(count)
        else:
            places = {name: place for place, name in enumerate(names)}
            pairs = [(i, places[name]) for i, name in enumerate(files.names) if name in places]
            new, old = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        same = (sizes[old] == files.sizes[new]) & (times[old] == files.times[new]) & (times[old] >= 0)
        hashes[new[same]], known[new[same]] = before[old[same]], True
    except Exception:  # absent, or damaged in any way: nothing is known
        known[:] = False
    return hashes, known


def _write(ledger: Path, files: Files, times: NDArray[np.int64], hashes: Hashes) -> None:
    text = np.frombuffer(files.names.text, dtype=np.uint8)
    with replaced(ledger, shared=True) as file:
        np.savez(file, text=text, spans=files.names.spans, sizes=files.sizes, times=times, hashes=hashes)
