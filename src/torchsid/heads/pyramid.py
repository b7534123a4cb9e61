"""3x3 convolutions with stride 2 down to 4x4, linear; maps."""

from typing import ClassVar

from torch import Tensor, nn

from torchsid.heads.features import MapNorm, channels, mean_over_positions

LAST_SIDE = 4  # maps are reduced until they are this small


class PyramidBody(nn.Module):
    """3x3 convolutions with stride 2 (BatchNorm, ReLU) down to 4x4, then a mean over the positions.

    The first keeps the channels, every further one doubles them: C → C → 2C → 4C. Unlike a head on pooled maps it reads every
    position, at an eighth of the cost of two residual blocks. A first stride `factor` times larger takes non-overlapping windows of
    that size, and costs and keeps less. Maps of 4x4 or less meet one convolution without a stride.
    """

    reads: ClassVar[tuple[int, ...]] = (4,)

    def __init__(self, example: Tensor, factor: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, side, stride = channels(example), min(example.shape[2:]), 2 * factor
        while not layers or side > LAST_SIDE:
            following = 2 * width if layers else width
            stride = 1 if side <= LAST_SIDE else 2 if layers else stride
            kernel, padding = (3, 1) if stride <= 2 else (stride, 0)
            layers += [nn.Conv2d(width, following, kernel, stride, padding, bias=False), MapNorm(following), nn.ReLU()]
            width, side = following, -(-side // stride)
        self.width = width
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, width]`, from maps `[B, C, H, W]`."""
        return mean_over_positions(self.layers(features))
