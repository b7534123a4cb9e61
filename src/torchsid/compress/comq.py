"""COMQ: a layer's weights quantised one after the other, each by what the others have spoilt; no gradients (arXiv 2403.07134).

    min over q of ‖X w − X q‖²,   q on the grid of its channel, X what the full-precision layer reads
    coordinate i:  q_i = nearest( q_i + ⟨X_i, X (w − q)⟩ / ‖X_i‖² ),   in descending order of `‖X_i‖·|w_i|`, all channels at once

Only `H = XᵀX` counts, so that X is never kept: `⟨X_i, X (w − q)⟩ = H_i · (w − q)` and `‖X_i‖² = H_ii`.
"""

import torch
from torch import Tensor

from torchsid.compress.grid import Grid, Quantised

SWEEPS = 3
_BLOCK = 64  # coordinates


def comq(weight: Tensor, gram: Tensor, bits: int, *, sweeps: int = SWEEPS) -> tuple[Quantised, list[float]]:
    """Return a weight on its grid, and the error `Σ_c ‖X (w_c − q_c)‖²` of rounding and after every sweep, which never rises.

    The first sweep goes from the full-precision weights, as published; a channel that it leaves worse than rounding does begins the
    second one rounded. Behind every sweep each channel's step is fitted anew, `δ = ⟨X ẑ, X w⟩ / ‖X ẑ‖²` with `ẑ = z + k`. An input
    that is always 0 leaves its weights rounded.

    Args:
        weight: `[C, d]`.
        gram: `XᵀX`, `[d, d]`.
        bits: of a weight.
        sweeps: over all coordinates, 1 or more.
    """
    w, h = weight.double(), gram.double()
    grid = Grid.of(w, bits)
    best = grid.values(grid.nearest(w))
    order = (h.diagonal().sqrt() * w.abs()).argsort(1, descending=True)
    least = _error(w - best, h)  # [C]
    errors, q = [float(least.sum())], w
    for _ in range(sweeps):
        fitted, q = _fitted(_swept(q, w, h, order, grid), w, h, grid)
        error = _error(w - q, h)
        better = error < least
        least = torch.where(better, error, least)
        grid = grid._replace(scale=torch.where(better.unsqueeze(1), fitted.scale, grid.scale))
        q = best = torch.where(better.unsqueeze(1), q, best)
        errors.append(float(least.sum()))
    best = torch.where(h.diagonal() > 0, best, w)  # the grid may have moved since these were rounded
    return Quantised(grid.nearest(best).to(torch.uint8), grid), errors


def _swept(q: Tensor, w: Tensor, h: Tensor, order: Tensor, grid: Grid) -> Tensor:
    """Return weights `[C, d]` after a sweep over all coordinates, each channel's in its own order.

    The pull `⟨X_i, X (w − q)⟩` on the other coordinates is brought up to date for a block of them at a time.
    """
    q, pull = q.clone(), (w - q) @ h
    for block in torch.split(order, _BLOCK, dim=1):  # [C, k]
        among = h[block.unsqueeze(2), block.unsqueeze(1)]  # [C, k, k]
        old, own, here = (each.gather(1, block) for each in (q, w, pull))
        new = old.clone()
        for j in range(block.shape[1]):
            norm = among[:, j, j]
            best = torch.where(norm > 0, old[:, j] + here[:, j] / norm, own[:, j])
            new[:, j : j + 1] = grid.values(grid.nearest(best.unsqueeze(1)))
            here -= among[:, j] * (new[:, j] - old[:, j]).unsqueeze(1)
        q.scatter_(1, block, new)
        pull -= torch.zeros_like(q).scatter_(1, block, new - old) @ h
    return q


def _fitted(q: Tensor, w: Tensor, h: Tensor, grid: Grid) -> tuple[Grid, Tensor]:
    """Return the grid whose steps suit the codes best, and the weights there; a step that is not above 0 stays."""
    whole = (q / grid.scale).round()
    reads = whole @ h
    scale = (reads * w).sum(1, keepdim=True) / (reads * whole).sum(1, keepdim=True)
    scale = torch.where(scale.isfinite() & (scale > 0), scale, grid.scale)
    return grid._replace(scale=scale), scale * whole


def _error(difference: Tensor, h: Tensor) -> Tensor:
    """Return `‖X d‖²` of each row d, `[C]`."""
    return ((difference @ h) * difference).sum(1)
