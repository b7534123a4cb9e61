"""How the extractor combines the L feature gradients `∂L_i/∂z` that the stages send it.

By the chain rule the extractor's parameters get `Jᵀ · combined`, with J the Jacobian of the extractor, so that one backward pass
through the extractor is enough whatever the rule (the view of Sener & Koltun 2018, arXiv 1810.04650).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor


class Sum:
    """`Σ_i ∂L_i/∂z`: the paper's rule. Keeps one tensor, whatever the depth."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def add(self, gradient: Tensor) -> None:
        """Add a stage's gradient, of the shape of the features, to the total and count it."""
        self._count += 1
        self._total = gradient.clone() if self._total is None else self._total.add_(gradient)

    def result(self) -> Tensor:
        """Return the total."""
        assert self._total is not None
        return self._total


class Mean(Sum):
    """`(1/L) Σ_i ∂L_i/∂z`: the extractor's step does not grow with depth."""

    def result(self) -> Tensor:
        """Return the total over the count."""
        return super().result() / self._count


class PCGrad:
    """Projecting conflicting gradients (Yu et al. 2020, arXiv 2001.06782, algorithm 1), applied to `∂L_i/∂z`.

    Each gradient loses its component along every other gradient that it conflicts with (negative inner product); then all are
    added. The others are visited in cyclic order `i+1, i+2, …` instead of at random, so that a step has one result. Keeps all L
    gradients and costs L² inner products, of which only the Gram matrix is formed.
    """

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def add(self, gradient: Tensor) -> None:
        """Keep a stage's gradient."""
        self.gradients.append(gradient)

    def result(self) -> Tensor:
        """Return the sum of the projected gradients."""
        gradients = torch.stack(self.gradients)
        flat = gradients.flatten(1)  # [L, N]
        weights = pcgrad_weights((flat @ flat.T).double())  # [L]
        return torch.einsum("l,l...->...", weights.to(flat), gradients)


def pcgrad_weights(gram: Tensor) -> Tensor:
    """Return the weight of each gradient in PCGrad's sum, `[L]`, from the inner products `⟨g_i, g_j⟩`, `[L, L]`.

    Every projected gradient is a combination `Σ_j c_ij g_j`; row i of `c` starts as the unit vector and loses
    `⟨g_i', g_j⟩ / ‖g_j‖²` of `g_j` whenever that inner product is negative.
    """
    depth = gram.shape[0]
    coefficients = torch.eye(depth, dtype=gram.dtype, device=gram.device)
    rows = torch.arange(depth, device=gram.device)
    for offset in range(1, depth):
        others = (rows + offset) % depth  # the j that each i visits in this round
        inner = (coefficients * gram[others]).sum(1)  # ⟨g_i', g_j⟩
        norm = gram[others, others]
        conflict = torch.where(norm > 0, inner.clamp(max=0) / norm.clamp(min=torch.finfo(gram.dtype).tiny), 0)
        coefficients[rows, others] -= conflict
    return coefficients.sum(0)


GradientCombiner = Sum | PCGrad  # takes the stages' gradients one by one; returns the one for the extractor
Combine = Literal["sum", "mean", "pcgrad"]
COMBINERS: dict[Combine, Callable[[], GradientCombiner]] = {"sum": Sum, "mean": Mean, "pcgrad": PCGrad}
