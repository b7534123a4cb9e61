"""Files that are either the old ones or the new ones, whatever happens in between."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchsid.errors import RunError


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the operating system (full disk, no permission) into a RunError that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; what was there before is untouched") from error


def write_text(path: Path, text: str) -> None:
    """Replace the file's text at once: a reader sees the old or the new one, never a part.

    Raises:
        RunError: the operating system refuses.
    """
    replace_file(path, text.encode())


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file at once, as `write_text`."""
    temporary = path.with_name(f".{path.name}.new")
    with os_errors(path):
        try:
            write_bytes(temporary, content)
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """Give an empty directory to fill; at the end of the block it takes the place of `path`, which is kept as `keep` if asked to.

    No portable call exchanges two full directories in one step, so the old one is set aside for a moment; `current` finds it there.

    Raises:
        RunError: the operating system refuses; the old directory stays.
    """
    fresh, old = being_written(path), _set_aside(path)
    with os_errors(path):
        _settle(path, fresh, old)
        try:
            fresh.mkdir(parents=True)
            yield fresh
            sync_directory(fresh)
            if path.exists():
                path.rename(old)
            fresh.rename(path)
            if keep and old.exists():
                shutil.rmtree(keep, ignore_errors=True)
                old.rename(keep)
            sync_directory(path.parent)
        finally:
            _settle(path, fresh, old)


def being_written(path: Path) -> Path:
    """Return the directory that `replacing_directory` gives for `path`."""
    return path.with_name(f".{path.name}.new")


def current(path: Path) -> Path:
    """Return where the directory is to be read: `path`, or the one set aside when a crash fell between the two renames."""
    return path if path.exists() or not _set_aside(path).exists() else _set_aside(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _settle(path: Path, fresh: Path, old: Path) -> None:
    """Put the old directory back if nothing has taken its place, and drop what an interrupted write left."""
    if old.exists() and not path.exists():
        old.rename(path)
    for remains in (fresh, old):
        shutil.rmtree(remains, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make renames inside the directory survive a power cut; where directories cannot be opened, the system does it itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
