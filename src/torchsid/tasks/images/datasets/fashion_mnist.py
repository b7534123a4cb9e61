"""Fashion-MNIST: 28x28 grey pictures of clothes, 10 classes; IDX files."""

from dataclasses import replace
from pathlib import Path

from torchsid.tasks.images.idx import IdxSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.sources import read_files

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def fashion_mnist(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    advice = f"apt install dataset-fashion-mnist puts them into {DEBIAN}"
    return read_files(
        replace(request, path=request.path or str(DEBIAN)), IdxSource(CLOTHES, folder="FashionMNIST/raw"), advice=advice
    )
