"""Images: read from local files, split, given label noise and augmented. Public names are loaded on first use."""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.tasks.images.augmentation import Augmentation as Augmentation
    from torchsid.tasks.images.augmentation import AugmentConfig as AugmentConfig
    from torchsid.tasks.images.augmentation import normalise as normalise
    from torchsid.tasks.images.decode import read_image as read_image
    from torchsid.tasks.images.noise import NoiseConfig as NoiseConfig
    from torchsid.tasks.images.raw import RawPart as RawPart
    from torchsid.tasks.images.raw import RawSet as RawSet
    from torchsid.tasks.images.request import Request as Request
    from torchsid.tasks.images.task import Images as Images

__getattr__, __dir__, __all__ = lazy_names(__name__)
