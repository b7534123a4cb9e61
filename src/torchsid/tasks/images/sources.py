"""What a source of a named data set is: it finds its files below a folder and reads them. The first complete one counts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torchsid.errors import DataError, bullets, printable
from torchsid.settings import path_of
from torchsid.tasks import ledger
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.encoded import Catalogue
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request

Files = Mapping[str, Sequence[Path]]
"""The files of each part (`"train"`, `"test"`, …) in the order to read them; a part that was not found is empty."""


class Source(ABC):
    """One way to store a data set."""

    @abstractmethod
    def patterns(self) -> Mapping[str, Sequence[str]]:
        """Return what is looked for, by part."""

    def find(self, root: Path) -> Files:
        """Return the files under `root`: of each part those of the first pattern that matches any, sorted by name."""
        return {part: _first_match(root, patterns) for part, patterns in self.patterns().items()}

    @abstractmethod
    def read(self, files: Files) -> RawSet | Catalogue:
        """Read them, or list the images that they hold.

        Raises:
            DataError: a file is damaged; names it, and the row.
        """


def _first_match(root: Path, patterns: Sequence[str]) -> list[Path]:
    matches = (sorted(path for path in root.glob(pattern) if path.is_file()) for pattern in patterns)
    return next(filter(None, matches), [])


def read_files(request: Request, *sources: Source, advice: str = "") -> RawSet:
    """Read a data set from its files, from the cache of decoded images where that is worth it.

    Args:
        request: where the files lie, and what a damaged one does.
        sources: the ways in which the data set may be stored, tried in this order.
        advice: where such files come from, for the message when there are none.

    Raises:
        DataError: the files are not found (says what was looked for) or are damaged.
    """
    root = root_of(request, advice)
    found: list[str] = []
    for source in sources:
        files = source.find(root)
        paths = sorted({path for part in files.values() for path in part})
        if all(files.values()):
            names = [path.relative_to(root).as_posix() for path in paths]
            hashes = dict(zip(names, ledger.of_few(request.cache, request.name, root, paths), strict=True))
            read = source.read(files)
            return decoded(replace(read, files=hashes), request) if isinstance(read, Catalogue) else replace(read, files=hashes)
        found += [path.name for path in paths]
    looked_for = [each for source in sources for part in source.patterns().values() for each in part]
    advice = f"; {advice}" if advice else ""
    what = f"no complete {request.name}, only {', '.join(found)}," if found else f"no files of {request.name}"
    raise DataError(f"{what} in {root} (data.path){advice}; looked for:{bullets(looked_for, len(looked_for))}")


def root_of(request: Request, advice: str = "") -> Path:
    """Return the folder of a data set's files; a DataError where there is none."""
    advice = f"; {advice}" if advice else ""
    if not request.path:
        raise DataError(f"{request.name} is read from local files: set data.path to their folder{advice}")
    root = path_of(request.path)
    if not root.is_dir():
        raise DataError(f"{printable(str(root))} (data.path) is no folder{advice}")
    return root
