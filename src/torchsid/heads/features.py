"""Features as bodies read them: maps `[B, C, H, W]`, tokens `[B, T, D]`, vectors `[B, D]`, told apart by their rank."""

from torch import Tensor, nn
from torch.nn import functional as F

FORMS = {2: "vectors", 3: "tokens", 4: "maps"}


def channels(features: Tensor) -> int:
    """Return the width of the features at one position."""
    return features.shape[1 if features.dim() == 4 else -1]


def describe(features: Tensor) -> str:
    """Return the form and the shape of a sample for a message, as `maps [B, 64, 8, 8]`."""
    form = FORMS.get(features.dim(), f"features of rank {features.dim()},")
    return f"{form} [{', '.join(['B', *map(str, features.shape[1:])][: features.dim()])}]"


def smaller(maps: Tensor, factor: int) -> Tensor:
    """Return maps averaged to `⌈H/factor⌉ x ⌈W/factor⌉`."""
    return maps if factor == 1 else F.avg_pool2d(maps, factor, ceil_mode=True)


def mean_over_positions(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return `[B, C]`: the mean over a map's pixels, or over the tokens that count, bool `[B, T]`; vectors as they are."""
    if features.dim() == 4:
        return features.mean((2, 3))
    if mask is not None:
        return without_padding(features, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    return features.mean(1) if features.dim() == 3 else features


def without_padding(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return tokens `[B, T, D]` with zeros where the mask, bool `[B, T]`, is False, whatever was there."""
    return tokens.masked_fill(~mask.unsqueeze(-1), 0.0)


class MapNorm(nn.BatchNorm2d):
    """BatchNorm on maps; one value alone, of a batch of one 1x1 map, has no variance and meets the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised maps, of the shape of `x`, `[B, C, H, W]`."""
        if self.training and x[:, :1].numel() == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
