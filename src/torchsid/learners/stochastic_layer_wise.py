"""Stochastic layer-wise learning, our reading: stages stay close under random projections (Yin and Corradi 2025)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.heads.features import mean_over_positions
from torchsid.settings import Count, NotNegative, checked


class StochasticLayerWise(StageRule):
    """Trains every stage on the class and on staying close to the previous stage's answer. Our reading.

        L_i = KL(p_y ‖ p_i) − λ · ln Σ_k √(q_ik · sg(q_{i−1,k})),   q_i = softmax(R_i h_i),   1 < i < L

    The second term, the Bhattacharyya distance, stands for the KL divergence of a bound on the evidence. The random matrices R_i,
    of normal numbers with variance 1 / width, are fixed: buffers of the heads. Of maps and tokens `h_i` is the mean over the
    positions. The first and the last stage have the cross-entropy alone, as the last one's features are its answer.

    Source: Yin and Corradi, arXiv 2505.05181 v4 (2025), without code. Not known, and ours: the scale of R, λ, what makes
    `p(y|h_i)` (here the belief head), whether the input is compared with the first stage, all accuracies; its reviewers dispute the
    bound. Stored: one stage and its head. Locked: forward. Simplified: no multiplicative dropout.

    Args:
        cascade: a staged cascade.
        weight: Weight λ of the distance.
        dimensions: of the projections, d.
    """

    takes_positions = False

    @checked
    def __init__(self, cascade: StagedCascade, *, weight: NotNegative = 0.1, dimensions: Count = 512) -> None:
        super().__init__(cascade)
        self.weight = weight
        self.projections = self.add_to_heads("projection", lambda _, features: Projection(_width(features), dimensions))
        self.before: Tensor | None = None

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return `L_i`."""
        loss = batch.cross_entropy(logits)
        if stage == self.module.depth - 1:
            self.before = None
            return loss
        log_q = self.projections[stage](features)
        if self.before is not None:
            loss = loss - self.weight * batch.mean(((log_q + self.before) / 2).logsumexp(1))
        self.before = log_q.detach()
        return loss


class Projection(nn.Module):
    """`log softmax(R h)` with R fixed."""

    matrix: Tensor

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(dimensions, width) / width**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return log-probabilities, `[B, dimensions]`, from vectors, tokens or maps."""
        projected = F.linear(mean_over_positions(features), self.matrix)
        return projected.log_softmax(1, dtype=torch.promote_types(projected.dtype, torch.float32))


def _width(features: torch.Size) -> int:
    return features[0] if len(features) == 3 else features[-1]
