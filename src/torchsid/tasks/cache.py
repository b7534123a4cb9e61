"""The folder where what data sets were made into is kept, such as decoded images and encoded texts."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchsid.durable import replaced, sha256_of_json
from torchsid.settings import path_of
from torchsid.tasks.progress import say

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OFF = "off"
"""The setting that keeps decoded images nowhere."""


def folder(setting: str) -> Path:
    """Return the folder: the setting, or the user's cache folder by the XDG rules, also where nothing decoded is kept."""
    if setting not in ("", OFF):
        return path_of(setting)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "torchsid"


def entry(setting: str, name: str, *follows_from: object) -> Path:
    """Return where something of a data set is kept, by what it follows from, which is JSON; any name will do."""
    return folder(setting) / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{sha256_of_json(follows_from)[:20]}"


def remember(path: Path, what: Mapping[str, Any]) -> None:
    """Write what JSON can hold; an OSError where that cannot be."""
    with replaced(path, shared=True) as file:
        file.write(json.dumps([what, sha256_of_json(what)]).encode())


def remembered(path: Path) -> dict[str, Any] | None:
    """Return what was written, or None where it is not there or damaged."""
    try:
        what, digest = json.loads(path.read_bytes())
        return what if digest == sha256_of_json(what) and isinstance(what, dict) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait until no other process makes what is kept at `path`, and let no other do so; an OSError where nothing can be written.

    Yields whether that is certain: some file systems have no locks, and who builds there at the same time writes the same.
    """
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            alone = _wait(descriptor, lock)
            if os.fstat(descriptor).st_nlink:
                try:
                    yield alone
                finally:
                    lock.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)  # who held it before has removed the file that we opened, or we are done


def _wait(descriptor: int, lock: Path) -> bool:
    """Lock a file, and return whether the system can."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another process prepares the same data: waiting for it (%s)", lock)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (OSError, AttributeError):
        return False
    return True
