"""The folder where what data sets were made into is kept, such as decoded images and encoded texts."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def entry(setting: str, name: str, digest: str) -> Path:
    """Return where something of a data set is kept, by the SHA-256 of what it follows from; a name may have any characters."""
    return folder(setting) / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{digest[:20]}"


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait until no other process holds a file, and hold it; yield whether it is still there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:  # its folder was renamed this moment
        yield False
        return
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process prepares the same data: waiting for it (%s)", path)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:  # a file system without locks: who builds at the same time writes the same
                pass
        yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)
