"""A data set of the Hugging Face `datasets` package on disk: a folder that `save_to_disk` has written."""

from torchsid.errors import DataError, printable
from torchsid.packages import require
from torchsid.tasks.images import hub
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import root_of

_MARKS = ("dataset_dict.json", "state.json")


def arrow(request: Request) -> RawSet:
    """Return the data set in `request.path`; see `hub.listed`. Its rows stay where they are, mapped into memory.

    Raises:
        DataError: the folder is none that `save_to_disk` has written, or damaged, or the data set does not fit.
    """
    root = root_of(request)
    if not any((root / mark).is_file() for mark in _MARKS):
        marks = "dataset_dict.json, with train/ and test/ beside it\n  - state.json, of a single data set"
        there = f"no files of arrow in {printable(str(root))} (data.path)"
        raise DataError(f"{there}; looked for what save_to_disk writes:\n  - {marks}")
    datasets = require("datasets", extra="hub", purpose=f"reading {printable(str(root))}")
    try:
        found = datasets.load_from_disk(str(root))
    except Exception as error:  # the package raises errors of every kind
        raise DataError(f"{printable(str(root))} (data.path) cannot be read ({type(error).__name__}: {error})") from error
    return decoded(hub.listed(found if isinstance(found, dict) else {"train": found}, request), request)
