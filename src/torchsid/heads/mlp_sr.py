"""DGL's head: pool to a quarter, three 1x1 convolutions, pool to 2x2, three linear layers; vectors, tokens, maps.

Source: `MLP-SR` of Belilovsky, Eickenberg and Oyallon, "Decoupled greedy learning of CNNs" (ICML 2020, arXiv 1901.08164): spatial
resolution is given up first, so that the head costs few operations beside a stage of 3x3 convolutions.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.heads.features import MapNorm, channels, mean_over_positions, smaller


class MLPSRBody(nn.Module):
    """Three linear layers with ReLU, as wide as the features, on vectors or the mean over tokens.

    Maps are averaged to a quarter of their side before, `⌈H/4⌉ x ⌈W/4⌉`, read by three 1x1 convolutions with BatchNorm and ReLU,
    and averaged to 2x2. A `factor` makes the first means so many times larger.
    """

    def __init__(self, example: Tensor, factor: int = 1) -> None:
        super().__init__()
        self.step = 4 * factor
        self.width = width = channels(example)
        pixels = 1
        self.convolutions = nn.Sequential()
        if example.dim() == 4:
            for _ in range(3):
                self.convolutions += nn.Sequential(nn.Conv2d(width, width, 1, bias=False), MapNorm(width), nn.ReLU())
            pixels = _to_two_by_two(smaller(example, self.step)).shape[2:].numel()
        layers: list[nn.Module] = []
        for read in (width * pixels, width, width):
            layers += [nn.Linear(read, width), nn.ReLU()]
        self.linear = nn.Sequential(*layers)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, C]`, from maps `[B, C, H, W]`, tokens or vectors."""
        if features.dim() == 4:
            features = _to_two_by_two(self.convolutions(smaller(features, self.step))).flatten(1)
        v: Tensor = self.linear(mean_over_positions(features, mask))
        return v


def _to_two_by_two(maps: Tensor) -> Tensor:
    """Return means over the quarters of the maps; of a side of one, that one."""
    return F.avg_pool2d(maps, tuple(-(-side // 2) for side in maps.shape[2:]), ceil_mode=True)
