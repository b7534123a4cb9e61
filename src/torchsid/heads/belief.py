"""What the heads of a cut trunk share: a linear reading of the body's vectors and the previous belief."""

import torch
from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.core.mlp_head import outputs_of
from torchsid.heads.pool import shrink


class BeliefHead(nn.Module):
    """A head on any features: `v = body(features)`, then `g(v, p) = W · [v, p] + b`.

    * plain: `logits_i = g(v, p_{i−1})`.
    * residual: `logits_i = log p_{i−1} + g(v, p_{i−1})` with `W = b = 0` at the start, so that every stage begins as the identity
      on beliefs.

    Args:
        body: maps features to `v`, `[B, width]` or `[B, T, width]`, and leaves the features as they are; says its `width`.
        num_classes: C.
        residual: which of the two.
        factor: maps are average-pooled by this much before the body reads them.
        positions: where a sample's beliefs are; all M of `(M,)` come from the same vector.
    """

    def __init__(
        self, body: nn.Module, num_classes: int, *, residual: bool = True, factor: int = 1, positions: Positions = ()
    ) -> None:
        super().__init__()
        self.residual = residual
        self.factor = factor
        self.slots = bool(positions) and positions != "tokens"
        self.body = body
        outputs = outputs_of(num_classes, positions)
        self.output = nn.Linear(int(body.width) + outputs, outputs)  # type: ignore[arg-type]
        if residual:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        """Return logits `[B, ..., C]` from the stage's features and the previous belief `[B, ..., C]`."""
        v = self.body(shrink(features, self.factor))
        belief = log_belief.exp().to(v.dtype)
        correction: Tensor = self.output(torch.cat([v, belief.flatten(1) if self.slots else belief], -1))
        if self.slots:
            correction = correction.view_as(belief)
        return log_belief + correction if self.residual else correction

    def extra_repr(self) -> str:
        """Show the settings in the module's printed form."""
        return f"residual={self.residual}, factor={self.factor}"
