"""CIFAR-10: 32x32 colour photographs, 10 classes; Parquet or the official Python archive."""

from torchsid.tasks.images.cifar import CifarArchive
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import read_files

PARQUET = ParquetSource("cifar10", num_classes=10, channels=3, folders=("plain_text", "cifar10", "cifar10/plain_text"))
ARCHIVE = CifarArchive(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    names="batches.meta",
)


def cifar10(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, PARQUET, ARCHIVE)
