"""The extractor of the paper's experiments, and the classifier made of it."""

from collections import OrderedDict

from torch import nn


class SimpleCNN(nn.Sequential):
    """Conv C→32, 32→64, pool 2, conv 64→128, 128→128, pool 2 (3×3, padding 1, ReLU), global average, linear 128→F.

    Maps images `[B, C, S, S]` to features `[B, F]`. The convolutions begin with He's initialisation (arXiv 1502.01852): PyTorch's
    default shrinks the signal by 0.4 a layer, which costs the first epochs. The paper does not say what it used.

    Args:
        in_channels: channels of the images.
        image_size: side of the images; any, since the last pooling is global.
        feature_dim: width F of the features.
    """

    def __init__(self, *, in_channels: int, image_size: int, feature_dim: int = 128) -> None:
        if image_size < 4:
            raise ValueError(f"image_size={image_size}: two poolings by 2 need images of 4 pixels or more; use the 'mlp' extractor")
        super().__init__(
            *_convolution(in_channels, 32),
            *_convolution(32, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            *_convolution(128, 128),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, feature_dim),
        )
        self.feature_dim = feature_dim


class SimpleCNNClassifier(nn.Sequential):
    """`SimpleCNN` as `extractor`, then a linear `head`: images `[B, C, S, S]` to logits `[B, num_classes]`.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        image_size: side of the images, 4 or more.
        width: width F of the features between the two.
    """

    def __init__(self, *, num_classes: int, in_channels: int, image_size: int, width: int = 128) -> None:
        extractor = SimpleCNN(in_channels=in_channels, image_size=image_size, feature_dim=width)
        for module in extractor:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # the network may be cut before any layer, and a cut's tensors are shared
        super().__init__(OrderedDict(extractor=extractor, head=nn.Linear(width, num_classes)))


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution, nn.ReLU(inplace=True)
