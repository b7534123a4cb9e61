"""One process at a time in a run directory: a lock that the system releases when its holder ends, however it ends."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torchsid.durable import os_errors
from torchsid.errors import RunError
from torchsid.training.provenance import now

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def refuse_if_in_use(directory: Path) -> None:
    """Raise a RunError that names the process which trains in a directory, if one does."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | _NO_LINK)
    except OSError:  # there is none; or whoever writes next says why
        return
    try:
        _take(descriptor, directory, alone=False)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path, warn: Callable[[str], object]) -> Iterator[None]:
    """Hold a run directory, which is made if it is not there, and removed again if it stays empty; a RunError if another holds it.

    Where the file system has no locks, `warn` is told.
    """
    made = not directory.exists()
    with os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _held(directory, warn)
    try:
        with os_errors(directory):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {now()}".encode())
        yield
    finally:
        with suppress(OSError):  # a directory that has gone says so elsewhere
            if os.path.samestat(os.fstat(descriptor), (directory / LOCK).stat()):
                (directory / LOCK).unlink()
            if made:
                directory.rmdir()
        os.close(descriptor)


def _held(directory: Path, warn: Callable[[str], object]) -> int:
    while True:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
        try:
            if not _take(descriptor, directory, alone=True):
                warn(f"the file system of {directory} has no locks: see to it that no other process trains there")
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it before has removed the file that we opened


def _take(descriptor: int, directory: Path, *, alone: bool) -> bool:
    """Lock a file, alone or with others, and return whether the file system can."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        raise RunError(f"{directory} is in use by {holder}: wait until it ends, or name another directory") from None
    except (OSError, AttributeError):
        return False
    return True
