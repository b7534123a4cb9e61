"""The paper's extractor: four 3x3 convolutions, two poolings, global average, linear."""

from torch import Tensor

from torchsid.models import simple_cnn as model
from torchsid.models.images import side_of
from torchsid.settings import Count, checked


@checked
def simple_cnn(example: Tensor, *, feature_dim: Count = 128) -> model.SimpleCNN:
    """Return the extractor for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        feature_dim: Width F of the features.
    """
    return model.SimpleCNN(in_channels=example.shape[1], image_size=side_of(example), feature_dim=feature_dim)
