"""One learned query over the positions, LayerNorm, linear; tokens, maps."""

from typing import ClassVar

from torch import Tensor, nn

from torchsid.heads.features import channels


class AttentionBody(nn.Module):
    """One learned query: `a_t = softmax_t(q · x_t / √D)`, `v = LayerNorm(Σ_t a_t x_t)`.

    `q = 0` at the start: the pooling begins as the mean, at any scale of the features.

    Args:
        example: tokens `[1, T, D]` or maps `[1, D, H, W]`.
    """

    reads: ClassVar[tuple[int, ...]] = (3, 4)

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.width = channels(example)
        self.query = nn.Linear(self.width, 1, bias=False)
        self.norm = nn.LayerNorm(self.width)
        nn.init.zeros_(self.query.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, D]`, from tokens `[B, T, D]` or maps `[B, D, H, W]`."""
        x = features.flatten(2).mT if features.dim() == 4 else features  # [B, T, D]
        attention = (self.query(x) * self.width**-0.5).softmax(1)  # [B, T, 1]
        v: Tensor = self.norm((attention.mT.to(x.dtype) @ x).squeeze(1))
        return v
