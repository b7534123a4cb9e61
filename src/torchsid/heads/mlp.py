"""Pool to a vector, the paper's hidden layer, linear; vectors, tokens, maps."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from torchsid.errors import unknown_name
from torchsid.heads.pool import MeanPool

HeadKind = Literal["plain", "residual"]


class MLPHead(nn.Module):
    """The module of the paper: `g(p, z) = W₂ · relu(W₁ · [p, z] + b₁) + b₂`.

    * `plain`: `logits_i = g(p_{i−1}, z)`, the paper's.
    * `residual`: `logits_i = log p_{i−1} + g(p_{i−1}, z)` with `W₂ = b₂ = 0` at the start, so that every stage begins as the
      identity on beliefs and the premise of Proposition 2 holds from the first step, at any depth.

    Args:
        feature_dim: width F of the features.
        num_classes: C.
        hidden: width H of the hidden layer.
        kind: `"plain"` or `"residual"`.
    """

    def __init__(self, feature_dim: int, num_classes: int, *, hidden: int = 256, kind: HeadKind = "plain") -> None:
        super().__init__()
        if kind not in get_args(HeadKind):
            raise ValueError(unknown_name("stage kind", kind, get_args(HeadKind)))
        self.kind = kind
        self.hidden = nn.Linear(num_classes + feature_dim, hidden)
        self.output = nn.Linear(hidden, num_classes)
        if kind == "residual":
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        """Return logits `[B, C]` from features `[B, F]` and the previous belief `[B, C]`."""
        belief = log_belief.exp().to(features.dtype)
        correction: Tensor = self.output(self.hidden(torch.cat([belief, features], -1)).relu())
        return log_belief + correction if self.kind == "residual" else correction

    def extra_repr(self) -> str:
        """Name the kind in the module's printed form."""
        return f"kind={self.kind!r}"


class MLPBody(nn.Module):
    """Pooled features, then the paper's hidden layer: `v = relu(W₁ · pool(features) + b₁)`.

    Args:
        channels: width of the pooled features.
        hidden: width H of the hidden layer.
    """

    def __init__(self, channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.width = hidden
        self.pool = MeanPool(channels)
        self.hidden = nn.Linear(channels, hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Return `v`, `[B, H]`, from maps, tokens or vectors."""
        v: Tensor = self.hidden(self.pool(features)).relu()
        return v
