"""What is asked of a data set."""

from dataclasses import dataclass
from typing import Literal

OnBadSample = Literal["error", "skip"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a data set: the settings of the task that have to do with reading, under their names."""

    name: str
    path: str = ""
    on_bad_sample: OnBadSample = "error"
    cache: str = ""
    size: int = 0
    files: str = ""
    read_elsewhere: tuple[str, ...] = ()
    """Columns of a table `files` that somebody else reads."""
    stream: bool = False
    workers: int | Literal["auto"] = "auto"
    window: int = 0
    smallest_crop: float = 0.0
    memory_bytes: int = 2**40
    """Up to how many bytes of decoded images may be held in memory, where the cache cannot be written."""
