"""A small extractor for small images."""

from torch import nn


class MLP(nn.Sequential):
    """Flatten, linear → 256, ReLU, linear → F, ReLU.

    Maps images `[B, C, S, S]` to features `[B, F]`.

    Args:
        in_channels: channels of the images.
        image_size: side of the images.
        feature_dim: width F of the features.
    """

    def __init__(self, *, in_channels: int, image_size: int, feature_dim: int = 128) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(in_channels * image_size**2, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, feature_dim),
            nn.ReLU(inplace=True),
        )
        self.feature_dim = feature_dim
