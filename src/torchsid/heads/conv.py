"""Pool to 8x8 at most, 3x3 convolution, global average, linear; maps."""

from typing import ClassVar

from torch import Tensor, nn

from torchsid.heads.features import MapNorm, channels, mean_over_positions


class ConvBody(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, global average: `v = mean_HW relu(BN(K * features))`."""

    reads: ClassVar[tuple[int, ...]] = (4,)
    max_side: ClassVar[int] = 8  # maps are pooled to 8x8 first: what a larger one tells of the class is not worth its convolution

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.width = width = channels(example)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = MapNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, C]`, from maps `[B, C, H, W]`."""
        return mean_over_positions(self.norm(self.conv(features)).relu())
