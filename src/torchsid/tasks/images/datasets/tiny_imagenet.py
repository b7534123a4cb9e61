"""Tiny-ImageNet: 64x64 colour photographs, 200 classes; Parquet."""

from torchsid.tasks.images.parquet import ParquetSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import read_files

PARQUET = ParquetSource(
    "tiny_imagenet*", num_classes=200, channels=3, folders=("tiny-imagenet",), test=("val", "valid", "validation")
)


def tiny_imagenet(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, PARQUET)
