"""The paper's extractor: four 3x3 convolutions, two poolings, global average, linear."""

from torch import Tensor, nn

from torchsid.models.images import convolution, side_of
from torchsid.settings import Count, checked


class SimpleCNN(nn.Sequential):
    """Conv C→32, 32→64, pool 2, conv 64→128, 128→128, pool 2 (3×3, padding 1, ReLU), global average, linear 128→F.

    Maps images `[B, C, S, S]` to features `[B, F]`. The convolutions begin with He's initialisation (arXiv 1502.01852): PyTorch's
    default shrinks the signal by 0.4 a layer, which costs the first epochs. The paper does not say what it used.

    Args:
        example: a batch of images, of any side from 4 on, since the last pooling is global.
        feature_dim: Width F of the features.
    """

    @checked
    def __init__(self, example: Tensor, *, feature_dim: Count = 128) -> None:
        side_of(example, least=4)
        channels, layers = example.shape[1], list[nn.Module]()
        for following in (32, 64, 0, 128, 128, 0):  # channels; 0 is a pooling
            layers += [convolution(channels, following), nn.ReLU(inplace=True)] if following else [nn.MaxPool2d(2)]
            channels = following or channels
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, feature_dim))
        self.feature_dim = feature_dim
