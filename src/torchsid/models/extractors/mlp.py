"""Two linear layers on the flattened image."""

from torch import Tensor, nn

from torchsid.models.images import side_of
from torchsid.settings import Count, checked


class MLP(nn.Sequential):
    """Flatten, linear → 256, ReLU, linear → F, ReLU.

    Maps images `[B, C, S, S]` to features `[B, F]`.

    Args:
        example: a batch of images.
        feature_dim: Width F of the features.
    """

    @checked
    def __init__(self, example: Tensor, *, feature_dim: Count = 128) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(example.shape[1] * side_of(example) ** 2, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, feature_dim),
            nn.ReLU(inplace=True),
        )
        self.feature_dim = feature_dim
