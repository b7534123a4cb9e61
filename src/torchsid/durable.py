"""Files that are either the old ones or the new ones, whatever happens in between, and their checksums."""

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from torchsid.errors import RunError

_AN_HOUR = 3600  # seconds


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: object) -> str:
    """Return the SHA-256 of what can be written as JSON, whatever the order of its keys, which are strings once they are read."""
    as_read = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the operating system (full disk, no permission) into a RunError that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; what was there before is untouched") from error


def replace_file(path: Path, content: str | bytes) -> None:
    """Replace the file at once: a reader sees the old or the new one, never a part; a RunError where the system refuses."""
    with os_errors(path), replaced(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


@contextmanager
def replaced(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of `path` when it is whole and on the disk; an OSError where the system refuses.

    Args:
        path: the file that is written or replaced.
        shared: whether other processes may write it at the same time. If so, each writes a file of its own; what one leaves that is
            killed is removed an hour later.
    """
    temporary = path.with_name(f".{path.name}.{f'{socket.gethostname()}-{os.getpid()}' if shared else 'new'}")
    try:
        for left in path.parent.glob(f"{escape(f'.{path.name}.')}*") if shared else ():
            with suppress(FileNotFoundError):  # its process has finished
                if left.stat().st_mtime < time.time() - _AN_HOUR:
                    left.unlink()
        with _new(temporary) as file:
            yield file
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        with suppress(OSError):  # the first error is the one to show
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a new file, never through a link that lies there, and wait until it is on the disk."""
    with _new(path) as file:
        file.write(content)


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def append(path: Path, content: bytes) -> int:
    """Append to a file that is there, all or nothing, and return its size; a RunError where the system refuses."""
    with os_errors(path), path.open("r+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if file.write(content) < len(content):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return file.tell()


@contextmanager
def replacing_directory(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """Give an empty directory to fill; at the end of the block it takes the place of `path`, which may be kept as `previous(path)`.

    No portable call exchanges two full directories in one step, so for a moment there is only the previous one. Where the system
    refuses, the old directory stays. Of the directories above, none but the last is made: the others may have been moved away.
    """
    fresh = being_written(path)
    with os_errors(path):
        shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted write left
        try:
            path.parent.mkdir(exist_ok=True)
            fresh.mkdir()
            yield fresh
            _sync_directory(fresh)
            if path.exists():
                shutil.rmtree(previous(path), ignore_errors=True)
                path.rename(previous(path))
            fresh.rename(path)
            _sync_directory(path.parent)
            if not keep:
                shutil.rmtree(previous(path), ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def check_replaceable(path: Path, ours: Callable[[Path], bool], problem: str) -> None:
    """Raise a RunError with this problem unless a directory may be written: none is there, or an empty one, or one of `ours`."""
    if path.is_file() or path.is_symlink() or (path.is_dir() and any(path.iterdir()) and not ours(path)):
        raise RunError(f"{path} {problem}")


def being_written(path: Path) -> Path:
    """Return the directory that `replacing_directory` gives for `path`."""
    return path.with_name(f".{path.name}.new")


def previous(path: Path) -> Path:
    """Return where the directory is that was at `path` before the one that is there."""
    return path.with_name(f"{path.name}-previous")


def current(path: Path) -> Path:
    """Return where the directory is to be read: `path`, or the previous one when a crash fell between the two renames."""
    return path if path.exists() or not previous(path).exists() else previous(path)


def _sync_directory(path: Path) -> None:
    """Make renames inside the directory survive a power cut; where directories cannot be opened, the system does it itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
