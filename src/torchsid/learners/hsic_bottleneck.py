"""HSIC bottleneck: every layer depends as much on the target and as little on the input as kernels can tell (Ma et al. 2020)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from torchsid.core.layers import Layered
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, LayerRule
from torchsid.settings import Positive, checked

_EPSILON = 1e-5  # times the number of samples: what makes centred kernels invertible


class HSICBottleneck(LayerRule):
    """Trains the hidden layers of a sequence by a measure of dependence, and the last layer by the cross-entropy.

        L_l = nHSIC(h_l, x) − β nHSIC(h_l, y),   h_l = f_l(sg(h_{l−1}))
        nHSIC(a, b) = tr(R_a R_b),   R = K̄ (K̄ + ε m I)⁻¹,   K̄ = K H,   H = I − 1/m,   K_ij = exp(−‖u_i − u_j‖² / (2 σ² d))

    over the m samples of a batch, d being the numbers of a sample and ε = 1e-5; in float64. A batch needs some hundred samples.

    Source: W. Ma, J. Lewis and W. Kleijn, arXiv 1908.01580, AAAI 2020. Stored: one layer, and matrices of m × m. Locked:
    forward. Simplified: the last layer, there trained afterwards with all else frozen, learns at the same time from the layers
    before it; neither the unformatted training nor several σ are included. A weight of a sample counts as more than 0 or as 0,
    except in the last layer. It needs large batches.

    Args:
        network: the layers.
        sigma: Width σ of the kernels.
        balance: How much more the target counts than the input, β.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    counts_by_weight = False
    window: int | None = 1

    @checked
    def __init__(self, network: Layered, *, sigma: Positive = 5.0, balance: Positive = 50.0) -> None:
        super().__init__(network)
        self.sigma, self.balance = sigma, balance

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let every hidden layer learn from what it has to do with input and target, and the last one from its answer."""
        *hidden, last = self.module.layers
        counted = batch.share > 0
        of_input, of_target = (normalised_kernel(each, self.sigma, counted) for each in (batch.x, batch.target))
        h, losses = batch.x, list[Tensor]()
        for i, layer in enumerate(hidden):
            h = layer(h.detach())
            own = normalised_kernel(h, self.sigma, counted)
            loss = dependence(own, of_input) - self.balance * dependence(own, of_target)
            batch.differentiate(i, loss)
            losses.append(loss.to(batch.share))
        logits = last(h.detach())
        loss = batch.cross_entropy(logits)
        batch.differentiate(-1, loss)
        return [*losses, loss], [logits]


def normalised_kernel(u: Tensor, sigma: float, counted: Tensor) -> Tensor:
    """Return `R` of a batch `[B, ...]`, float64 `[B, B]`; rows and columns of samples that do not count, bool `[B]`, are 0."""
    u, mask = u.flatten(1).double(), counted.double()
    u = u.masked_fill(~counted.unsqueeze(1), 0.0)
    squares = u.square().sum(1)
    distances = (squares.unsqueeze(1) + squares - 2 * u @ u.T).clamp(min=0)
    kernel = (-distances / (2 * sigma**2 * u.shape[1])).exp() * mask.outer(mask)
    count = mask.sum().clamp(min=1)
    centred = kernel @ (mask.diag() - mask.outer(mask) / count)
    found: Tensor = torch.linalg.solve(centred + _EPSILON * count * torch.eye(len(u), dtype=u.dtype, device=u.device), centred)
    return found


def dependence(one: Tensor, other: Tensor) -> Tensor:
    """Return `tr(R_a R_b)`, a scalar."""
    return (one * other.T).sum()
