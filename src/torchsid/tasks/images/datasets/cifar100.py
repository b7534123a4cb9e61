"""CIFAR-100: 32x32 colour photographs, 100 classes; Parquet or the official Python archive."""

from torchsid.tasks.images.cifar import CifarArchive
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import read_files

PARQUET = ParquetSource("cifar100", num_classes=100, channels=3, label="fine_label", folders=("cifar100",))
ARCHIVE = CifarArchive(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test="test",
    names="meta",
)


def cifar100(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, PARQUET, ARCHIVE)
