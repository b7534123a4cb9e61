"""Your own images, a folder for each class: PATH/<class>/*, or PATH/train/<class>/* with val/ and test/ beside it."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torchsid.errors import DataError, printable
from torchsid.tasks import ledger
from torchsid.tasks.files import Files
from torchsid.tasks.images import folders
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.encoded import Catalogue, Encoded, unchanged
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import root_of
from torchsid.tasks.splitting import Labels, every_fifth, hold_out

_TEST_SHARE = 0.2


def folder(request: Request) -> RawSet:
    """Return the images below `request.path`; `folders.find` says which they are, and of which class and part.

    Without a test set a fifth of each class is kept for one: every fifth image where there is a `train/`, else images drawn by lot,
    the same whatever the run's seed.

    Raises:
        DataError: there are no such folders, a class has no image, or images are damaged or differ in size.
    """
    root = root_of(request)
    found = folders.find(root, request.files, lenient=request.on_bad_sample == "skip")
    catalogue = Catalogue(
        images=ImageFiles(found.root, found.files, len(found.labels)),
        labels=found.labels,
        parts=found.parts,
        names=found.files.names[: len(found.labels)],
        class_names=found.class_names,
        notes=found.notes,
        files={
            f"{len(found.labels)} images": ledger.of_all(
                found.files, ledger.sha256s(request.cache, request.name, root, found.files, request.files)
            )
        },
        divide=partial(divided, num_classes=len(found.class_names), by_lot=found.bare),
    )
    return decoded(catalogue, request)


@dataclass(frozen=True, eq=False)
class ImageFiles(Encoded):
    """Images in files of their own, below a folder."""

    root: Path
    files: Files
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> bytes:
        """See `Encoded`."""
        path = os.path.join(self.root, self.files.names[i])  # noqa: PTH118 - for each of millions
        with unchanged(path, self.files.sizes[i], self.files.times[i]) as file:
            return file.read()

    def where(self, i: int) -> str:
        """See `Encoded`."""
        return printable(self.files.names[i])


def divided(labels: Labels, *, num_classes: int, by_lot: bool) -> tuple[Labels, Labels]:
    """Return the indices to train on and those to test with, a fifth of each class, by lot or every fifth.

    Raises:
        DataError: there are too few to keep any.
    """
    kept, out = hold_out(labels, _TEST_SHARE, num_classes, seed=0) if by_lot else every_fifth(labels)
    if not len(out):
        raise DataError(f"{len(labels)} images are too few to keep some for testing: add images, or a test set (test/ or a list)")
    return kept, out
