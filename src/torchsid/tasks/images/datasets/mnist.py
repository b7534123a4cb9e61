"""MNIST: 28x28 grey handwritten digits, 10 classes; Parquet or IDX files."""

from torchsid.tasks.images.idx import IdxSource
from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import read_files

PARQUET = ParquetSource("mnist", num_classes=10, channels=1, folders=("mnist",))
IDX = IdxSource(tuple("0123456789"), folder="MNIST/raw")


def mnist(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, PARQUET, IDX)
