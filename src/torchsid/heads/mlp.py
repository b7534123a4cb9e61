"""Pool to a vector, the paper's hidden layer, linear; vectors, tokens, maps."""

from torch import Tensor, nn

from torchsid.heads.features import channels, mean_over_positions
from torchsid.settings import Count, checked


class MLPBody(nn.Module):
    """Pooled features, then the paper's hidden layer: `v = relu(W₁ · pool(features) + b₁)`.

    Args:
        hidden: Width H of the hidden layer.
        pool: whether to take the mean over the positions first; otherwise every token has a `v` of its own.
    """

    @checked
    def __init__(self, example: Tensor, pool: bool = True, *, hidden: Count = 256) -> None:
        super().__init__()
        self.width, self.pool = hidden, pool
        self.hidden = nn.Linear(channels(example), hidden)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, H]` from maps, tokens or vectors, or `[B, T, H]` from tokens."""
        v: Tensor = self.hidden(mean_over_positions(features, mask) if self.pool else features).relu()
        return v
