"""Transformer blocks of networks and heads, with the names and numbers of timm's."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64


class Attention(nn.Module):
    """Multi-head self-attention on tokens `[B, N, width]`; `width` is a multiple of `heads`; `causal` hides later tokens."""

    def __init__(self, width: int, heads: int, dropout: float, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attended tokens, of those that count alone, bool `[B, N]`; `x` is left alone."""
        qkv: Tensor = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [B, N, 3, heads, width / heads]
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each [B, heads, N, width / heads]
        read = None if mask is None else self._read(mask)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=read, is_causal=self.causal and read is None)
        answer: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return answer

    def _read(self, mask: Tensor) -> Tensor:
        """Return which tokens each one reads, bool `[B, 1, 1 or N, N]`; of those that count none, an earlier one reads itself."""
        read = mask[:, None, None]
        if not self.causal:
            return read
        own = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        return (read & torch.ones_like(own).tril()) | own


class Block(nn.Module):
    """A pre-norm transformer block: `x = x + attn(norm1(x))`, then `x + mlp(norm2(x))`."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, dropout, causal=causal)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        first, second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=first, act=nn.GELU(), drop1=nn.Dropout(dropout), fc2=second, drop2=nn.Dropout(dropout))
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the tokens `[B, N, width]` after the block, which attend to those of `mask`, bool `[B, N]`; `x` is left alone."""
        x = x + self.attn(self.norm1(x), mask)
        return torch.add(x, self.mlp(self.norm2(x)))
