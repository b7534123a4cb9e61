"""What a source of a named data set is: it finds its files under a folder and reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

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
