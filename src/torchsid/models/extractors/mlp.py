"""Two linear layers on the flattened input."""

from torch import Tensor, nn

from torchsid.models.images import size_of
from torchsid.settings import Count, checked


@checked
def mlp(example: Tensor, *, feature_dim: Count = 128) -> nn.Sequential:
    """Return flatten, linear → 256, ReLU, linear → F, ReLU: inputs `[B, ...]` to features `[B, F]`.

    Args:
        example: a batch of inputs.
        feature_dim: Width F of the features.
    """
    first, second = nn.Linear(size_of(example), 256), nn.Linear(256, feature_dim)
    extractor = nn.Sequential(nn.Flatten(), first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
    extractor.feature_dim = feature_dim  # type: ignore[assignment]
    return extractor
