"""Pool to 8x8 at most, 3x3 convolution, global average, linear; maps."""

from torch import Tensor, nn

from torchsid.heads.pool import MeanPool

MAX_SIDE = 8  # maps are pooled to at most 8x8 first: what a larger one tells of the class is not worth its convolution


class ConvBody(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, global average: `v = mean_HW relu(BN(K * features))`.

    Args:
        channels: C, of the maps and of `v`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = MeanPool(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, C]`, from maps `[B, C, H, W]`."""
        v: Tensor = self.pool(self.norm(self.conv(features)).relu())
        return v
