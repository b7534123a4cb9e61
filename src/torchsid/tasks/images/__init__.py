"""Images: read from local files, split, given label noise and augmented. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.images.augmentation import Augmentation as Augmentation
    from torchsid.tasks.images.augmentation import normalise as normalise
    from torchsid.tasks.images.config import AugmentConfig as AugmentConfig
    from torchsid.tasks.images.config import NoiseConfig as NoiseConfig
    from torchsid.tasks.images.decode import read_image as read_image
    from torchsid.tasks.images.raw import RawPart as RawPart
    from torchsid.tasks.images.raw import RawSet as RawSet
    from torchsid.tasks.images.sources import Request as Request
    from torchsid.tasks.images.task import Images as Images

_HOME = {
    "AugmentConfig": "torchsid.tasks.images.config",
    "Augmentation": "torchsid.tasks.images.augmentation",
    "Images": "torchsid.tasks.images.task",
    "NoiseConfig": "torchsid.tasks.images.config",
    "RawPart": "torchsid.tasks.images.raw",
    "RawSet": "torchsid.tasks.images.raw",
    "Request": "torchsid.tasks.images.sources",
    "normalise": "torchsid.tasks.images.augmentation",
    "read_image": "torchsid.tasks.images.decode",
}

__all__ = [
    "AugmentConfig",
    "Augmentation",
    "Images",
    "NoiseConfig",
    "RawPart",
    "RawSet",
    "Request",
    "normalise",
    "read_image",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
