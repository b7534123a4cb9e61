"""The paper's head on features, and how its weights begin."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.errors import unknown_name

HeadKind = Literal["plain", "residual"]
Init = Literal["pytorch", "xavier", "kaiming", "orthogonal", "zero"]

_WEIGHTS: dict[Init, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "zero": nn.init.zeros_,
}


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
        positions: where a sample's beliefs are; all M of `(M,)` come from the same features.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, *, hidden: int = 256, kind: HeadKind = "plain", positions: Positions = ()
    ) -> None:
        super().__init__()
        if kind not in get_args(HeadKind):
            raise ValueError(unknown_name("stage kind", kind, get_args(HeadKind)))
        self.kind = kind
        self.slots = bool(positions) and positions != "tokens"
        outputs = outputs_of(num_classes, positions)
        self.hidden = nn.Linear(outputs + feature_dim, hidden)
        self.output = nn.Linear(hidden, outputs)
        if kind == "residual":
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        """Return logits `[B, ..., C]` from features `[B, F]` or `[B, ..., F]` and the previous belief `[B, ..., C]`."""
        belief = log_belief.exp().to(features.dtype)
        u = torch.cat([belief.flatten(1) if self.slots else belief, features], -1)
        correction: Tensor = self.output(self.hidden(u).relu()).view_as(belief)
        return log_belief + correction if self.kind == "residual" else correction

    def extra_repr(self) -> str:
        """Name the kind in the module's printed form."""
        return f"kind={self.kind!r}"


def outputs_of(num_classes: int, positions: Positions) -> int:
    """Return how many logits a head makes of one vector of features."""
    return num_classes if positions == "tokens" else num_classes * math.prod(positions)


def initialise(head: MLPHead, init: Init) -> None:
    """Give a head the weights that it begins with, in place. The last layer of a residual head stays zero, which makes it one.

    | init         | weights                                                        | biases      |
    | ------------ | -------------------------------------------------------------- | ----------- |
    | `pytorch`    | as they are: uniform in ±1/√(inputs)                           | as they are |
    | `xavier`     | uniform in ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010) | 0           |
    | `kaiming`    | normal, variance 2 / inputs (K. He et al., arXiv 1502.01852)   | 0           |
    | `orthogonal` | orthonormal rows or columns (Saxe et al., arXiv 1312.6120)     | 0           |
    | `zero`       | 0 in the last layer, the hidden layer's as they are            | the same    |

    With `zero` a plain head begins by answering with the uniform belief.

    Raises:
        ValueError: the name is unknown.
    """
    if init not in get_args(Init):
        raise ValueError(unknown_name("init", init, get_args(Init)))
    if init == "pytorch":
        return
    if init != "zero":
        _begin(head.hidden, init)
    if init == "zero" or head.kind == "plain":
        _begin(head.output, init)


def _begin(layer: nn.Linear, init: Init) -> None:
    _WEIGHTS[init](layer.weight)
    nn.init.zeros_(layer.bias)
