"""Propositions 1, 2 and 4 (arXiv 2510.03273) as functions of what a cascade believes.

Throughout, `log_beliefs` are `p_0 … p_L`, log-probabilities `[L+1, ..., C]`, `log_target` is `p_y`, `[..., C]`, and the objective
says what α_i and D are. All results are in nats, one a sample and position, `[...]`.

The paper has D(p, q) = KL(p ‖ q), `direction="reverse"`. Propositions 2 and 4 use no more of D than D(p, p) = 0, so that the same
inequalities hold in the other direction, for the other divergence; see `torchsid.study.certify.certificate.scope`.
"""

import torch
from torch import Tensor

from torchsid.core import beliefs
from torchsid.core.objective import LocalObjective


def divergence(log_p: Tensor, log_q: Tensor, objective: LocalObjective) -> Tensor:
    """Return `D(p, q)` in the objective's direction, `[...]`; between all beliefs and the target it is `[L+1, ...]`."""
    return (beliefs.forward_kl if objective.direction == "forward" else beliefs.reverse_kl)(log_p, log_q)


def local_losses(log_beliefs: Tensor, log_target: Tensor, objective: LocalObjective) -> Tensor:
    """Return `L_i(p_i) = α_i D(p_i, p_y) + (1 − α_i) D(p_i, p_{i−1})` for i = 1 … L, `[L, ...]`."""
    return objective(log_beliefs[1:], log_target, log_beliefs[:-1], stage_alphas(log_beliefs, objective))


def excess_losses(log_beliefs: Tensor, log_target: Tensor, objective: LocalObjective) -> Tensor:
    """Return `L_i(p_i) − L_i(p_{i−1})` for i = 1 … L, `[L, ...]`; the premise of Proposition 2 is that it is at most 0.

    Handing the previous belief on unchanged costs `L_i(p_{i−1}) = α_i D(p_{i−1}, p_y)`.
    """
    unchanged = stage_alphas(log_beliefs, objective) * divergence(log_beliefs[:-1], log_target, objective)
    return local_losses(log_beliefs, log_target, objective) - unchanged


def descent_margins(log_beliefs: Tensor, log_target: Tensor, objective: LocalObjective) -> Tensor:
    """Return by how much the conclusion of Proposition 2 is met, for i = 1 … L, `[L, ...]`; it holds where this is 0 or more.

        α_i D(p_{i−1}, p_y) − (1 − α_i) D(p_i, p_{i−1}) − α_i D(p_i, p_y)

    This is the conclusion times α_i, so that α_i = 0 has a meaning. In exact arithmetic it is the premise, reordered.
    """
    alpha = stage_alphas(log_beliefs, objective)
    to_target = divergence(log_beliefs, log_target, objective)
    moved = divergence(log_beliefs[1:], log_beliefs[:-1], objective)
    return alpha * to_target[:-1] - (1 - alpha) * moved - alpha * to_target[1:]


def error_bounds(to_target: Tensor, errors: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Return the bound on `D(p_i, p_y)` of Proposition 4, `D(p_0, p_y) + Σ_{j≤i} ε_j / α_j`, for i = 1 … L, `[L, ...]`.

    Args:
        to_target: `D(p_i, p_y)`, `[L+1, ...]`; only the prior's is used.
        errors: `ε_i = max(0, L_i(p_i) − L_i(p_{i−1}))`, `[L, ...]`, the least with `L_i(p_i) ≤ L_i(p_{i−1}) + ε_i`.
        alphas: `α_i`. Where it is 0 nothing bounds an error: the bound is infinite from the first ε_i > 0 on.
    """
    alpha = errors.new_tensor(alphas).reshape(-1, *[1] * (errors.ndim - 1))
    shares = torch.where(errors == 0, torch.zeros_like(errors), errors / alpha)
    return to_target[0] + shares.cumsum(0)


def distances_to_minimiser(log_beliefs: Tensor, log_target: Tensor, objective: LocalObjective) -> Tensor:
    """Return how far each stage is from the best it could do, `L_i(p_i) − min L_i`, for i = 1 … L, `[L, ...]`.

    With the minimiser m_i of Proposition 1 that is `KL(p_i ‖ m_i)` for the geometric mixture (reverse) and `KL(m_i ‖ p_i)` for the
    arithmetic one (forward).
    """
    best = objective.minimiser(log_target, log_beliefs[:-1], stage_alphas(log_beliefs, objective))
    return divergence(log_beliefs[1:], best, objective)


def residuals(log_beliefs: Tensor, log_target: Tensor, objective: LocalObjective) -> Tensor:
    """Return what is left of the gap to the target for i = 0 … L, `[L+1, ...]`, in the space in which the minimiser is a mean.

    * forward: total variation, `½ Σ_c |p_i − p_y|`;
    * reverse: the norm of `log p_i − log p_y`, less its mean over the classes.

    An ideal stage takes it to `1 − α_i` times what it was, so that `Π (1 − α_i)` of it is left: `(1 − α)^L`.
    """
    if objective.direction == "forward":
        return (log_beliefs.exp() - log_target.exp()).abs().sum(-1) / 2
    gap = log_beliefs - log_target
    return (gap - gap.mean(-1, keepdim=True)).square().sum(-1).sqrt()


def ideal_residuals(alphas: tuple[float, ...]) -> Tensor:
    """Return `Π_{j≤i} (1 − α_j)` for i = 1 … L, `[L]`: the share of the gap that ideal stages leave."""
    return (1 - torch.tensor(alphas, dtype=torch.float64)).cumprod(0)


def rounding(to_target: Tensor) -> Tensor:
    """Return how far rounding may move what is compared with `D(p_{i−1}, p_y)`, `[L, ...]`, from divergences `[L+1, ...]`.

    A stage that changes nothing must not fail by a rounding error.
    """
    return 1e-6 * (1 + to_target[:-1])  # beliefs are float32: a few units in the last place


def stage_alphas(log_beliefs: Tensor, objective: LocalObjective) -> Tensor:
    """Return `α_1 … α_L` as the other functions use them, `[L, 1, …]`."""
    return log_beliefs.new_tensor(objective.alphas(len(log_beliefs) - 1)).reshape(-1, *[1] * (log_beliefs.ndim - 2))
