"""Two linear layers on the flattened image."""

from torch import Tensor, nn

from torchsid.models.images import side_of
from torchsid.settings import Count, checked


@checked
def mlp(example: Tensor, *, feature_dim: Count = 128) -> nn.Sequential:
    """Return flatten, linear → 256, ReLU, linear → F, ReLU: images `[B, C, S, S]` to features `[B, F]`.

    Args:
        example: a batch of images.
        feature_dim: Width F of the features.
    """
    first, second = nn.Linear(example.shape[1] * side_of(example) ** 2, 256), nn.Linear(256, feature_dim)
    extractor = nn.Sequential(nn.Flatten(), first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
    extractor.feature_dim = feature_dim  # type: ignore[assignment]
    return extractor
