"""metrics.jsonl, one JSON object a line, flushed line by line."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torchsid.errors import RunError
from torchsid.training.durable import os_errors


class MetricsLog:
    """The run's metrics.jsonl, open for appending.

    Args:
        path: created if it does not exist.
        size: bytes to keep; what stands after them was written by steps that will be taken again. None keeps all.

    Raises:
        RunError: the file cannot be written, or is shorter than `size`.
    """

    def __init__(self, path: Path, *, size: int | None = None) -> None:
        self._path = path
        with os_errors(path):
            path.parent.mkdir(exist_ok=True)
            self._file = path.open("ab")
            if size is None:
                return
            if self._file.tell() < size:
                self._file.close()
                raise RunError(f"{path} is shorter than its checkpoint says: restore it from a copy or start a new run")
            self._file.truncate(size)

    def write(self, event: str, **values: object) -> dict[str, Any]:
        """Append a line and return what it says."""
        record = {"event": event, **values}
        with os_errors(self._path):
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
        return record

    def sync(self) -> int:
        """Wait until all lines are on the disk and return the size of the file in bytes."""
        with os_errors(self._path):
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl; a last line that a crash cut short is left out.

    Raises:
        RunError: the file is missing, or a line other than the last is no JSON object.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise RunError(f"{path}, line {number}: not a JSON object; the file was altered") from None
    return records
