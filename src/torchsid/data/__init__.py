"""Image data sets: read from local files, split, given label noise, ordered and augmented.

Public names are loaded on first use; `names` and `DESCRIPTIONS` need neither torch nor NumPy.
"""

from typing import TYPE_CHECKING

from torchsid.data.catalogue import DESCRIPTIONS, names
from torchsid.lazy import lazy_names

if TYPE_CHECKING:
    from torchsid.data.augmentation import Augmentation as Augmentation
    from torchsid.data.augmentation import normalise as normalise
    from torchsid.data.config import AugmentConfig as AugmentConfig
    from torchsid.data.config import DataConfig as DataConfig
    from torchsid.data.config import NoiseConfig as NoiseConfig
    from torchsid.data.decode import read_image as read_image
    from torchsid.data.loading import load as load
    from torchsid.data.order import sample_order as sample_order
    from torchsid.data.order import step_generator as step_generator
    from torchsid.data.splits import DataSplits as DataSplits
    from torchsid.data.splits import ImageSet as ImageSet

_HOME = {
    "AugmentConfig": "torchsid.data.config",
    "Augmentation": "torchsid.data.augmentation",
    "DataConfig": "torchsid.data.config",
    "DataSplits": "torchsid.data.splits",
    "ImageSet": "torchsid.data.splits",
    "NoiseConfig": "torchsid.data.config",
    "load": "torchsid.data.loading",
    "normalise": "torchsid.data.augmentation",
    "read_image": "torchsid.data.decode",
    "sample_order": "torchsid.data.order",
    "step_generator": "torchsid.data.order",
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
