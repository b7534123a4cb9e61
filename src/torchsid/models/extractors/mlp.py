"""Two linear layers on the flattened image."""

from torch import Tensor

from torchsid.models import mlp as model
from torchsid.models.images import side_of
from torchsid.settings import Count, checked


@checked
def mlp(example: Tensor, *, feature_dim: Count = 128) -> model.MLP:
    """Return the extractor for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        feature_dim: Width F of the features.
    """
    return model.MLP(in_channels=example.shape[1], image_size=side_of(example), feature_dim=feature_dim)
