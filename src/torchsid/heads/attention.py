"""One learned query over the positions, LayerNorm, linear; tokens, maps."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.heads.features import channels, without_padding


class AttentionBody(nn.Module):
    """One learned query: `a_t = softmax_t(q · x_t / √D)`, `v = LayerNorm(Σ_t a_t x_t)`.

    `q = 0` at the start: the pooling begins as the mean, at any scale of the features.
    """

    reads: ClassVar[tuple[int, ...]] = (3, 4)

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.width = channels(example)
        self.query = nn.Linear(self.width, 1, bias=False)
        self.norm = nn.LayerNorm(self.width)
        nn.init.zeros_(self.query.weight)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, D]`, from tokens `[B, T, D]` or maps `[B, D, H, W]`."""
        x = features.flatten(2).mT if features.dim() == 4 else features  # [B, T, D]
        scores = self.query(x) * self.width**-0.5  # [B, T, 1]
        if mask is not None:
            x, scores = without_padding(x, mask), scores.masked_fill(~mask.unsqueeze(-1), torch.finfo(scores.dtype).min)
        attention = scores.softmax(1)
        v: Tensor = self.norm((attention.mT.to(x.dtype) @ x).squeeze(1))
        return v
