"""Pool to a vector, linear; vectors, tokens, maps."""

from torch import Tensor, nn

from torchsid.heads.features import channels, mean_over_positions


class LinearBody(nn.Module):
    """The mean over the positions, or without `pool` every token by itself: nothing else stands before the linear readout."""

    def __init__(self, example: Tensor, pool: bool = True) -> None:
        super().__init__()
        self.width, self.pool = channels(example), pool

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, D]` from maps, tokens or vectors, or tokens `[B, T, D]` as they are."""
        return mean_over_positions(features, mask) if self.pool else features
