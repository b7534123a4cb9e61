"""Image data sets: read from local files, split, given label noise, ordered and augmented.

Public names are loaded on first use; `names` and `DESCRIPTIONS` need neither torch nor NumPy.
"""

from typing import TYPE_CHECKING

from torchsid.lazy import lazy_names
from torchsid.tasks.images.catalogue import DESCRIPTIONS, names

if TYPE_CHECKING:
    from torchsid.tasks.images.augmentation import Augmentation as Augmentation
    from torchsid.tasks.images.augmentation import normalise as normalise
    from torchsid.tasks.images.config import AugmentConfig as AugmentConfig
    from torchsid.tasks.images.config import DataConfig as DataConfig
    from torchsid.tasks.images.config import NoiseConfig as NoiseConfig
    from torchsid.tasks.images.decode import read_image as read_image
    from torchsid.tasks.images.loading import load as load
    from torchsid.tasks.images.order import sample_order as sample_order
    from torchsid.tasks.images.order import step_generator as step_generator
    from torchsid.tasks.images.splits import DataSplits as DataSplits
    from torchsid.tasks.images.splits import ImageSet as ImageSet

_HOME = {
    "AugmentConfig": "torchsid.tasks.images.config",
    "Augmentation": "torchsid.tasks.images.augmentation",
    "DataConfig": "torchsid.tasks.images.config",
    "DataSplits": "torchsid.tasks.images.splits",
    "ImageSet": "torchsid.tasks.images.splits",
    "NoiseConfig": "torchsid.tasks.images.config",
    "load": "torchsid.tasks.images.loading",
    "normalise": "torchsid.tasks.images.augmentation",
    "read_image": "torchsid.tasks.images.decode",
    "sample_order": "torchsid.tasks.images.order",
    "step_generator": "torchsid.tasks.images.order",
}

__all__ = [
    "DESCRIPTIONS",
    "AugmentConfig",
    "Augmentation",
    "DataConfig",
    "DataSplits",
    "ImageSet",
    "NoiseConfig",
    "load",
    "names",
    "normalise",
    "read_image",
    "sample_order",
    "step_generator",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
