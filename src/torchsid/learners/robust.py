"""Losses that wrong labels mislead less than the cross-entropy does; for `Backprop(network, loss=...)`.

Each takes the belief `p` and the target `t` as log-probabilities `[B, C]`, gives every sample its loss `[B]` in nats, and is
differentiated through `p` alone. Targets may be one-hot or rows. CE is `KL(t ‖ p)`, the cross-entropy less the target's entropy,
which is 0 for a one-hot target and has no gradient.
"""

import math

from torch import Tensor

from torchsid.core.beliefs import entropy, expectation, forward_kl

LOG_ZERO = math.log(1e-4)
"""What `log 0` counts in `symmetric_cross_entropy`, as in the authors' code, which raises the target to 1e-4 at least."""

_EDGE = 1e-4
"""ELR keeps probabilities this far from 0 and 1, as the authors' code does, so that its logarithm stays finite."""


def soft_bootstrap(log_belief: Tensor, log_target: Tensor, *, beta: float = 0.95) -> Tensor:
    """Return `−Σ [β t + (1−β) p] log p = β·CE + (1−β)·H(p)`, soft bootstrapping.

    The network's own belief takes part in the target. The gradient passes through it there too, so that the second term is
    minimum-entropy regularisation. `β = 1` is CE.

    Source: S. Reed et al., arXiv 1412.6596, ICLR workshop 2015.
    """
    return beta * forward_kl(log_belief, log_target) + (1 - beta) * entropy(log_belief)


def hard_bootstrap(log_belief: Tensor, log_target: Tensor, *, beta: float = 0.8) -> Tensor:
    """Return `−Σ [β t + (1−β) z] log p = β·CE − (1−β)·log max p`, hard bootstrapping.

    `z` is the one-hot answer of the network, a constant. `β = 1` is CE.

    Source: S. Reed et al., arXiv 1412.6596, ICLR workshop 2015.
    """
    return beta * forward_kl(log_belief, log_target) - (1 - beta) * log_belief.max(-1).values


def generalized_cross_entropy(log_belief: Tensor, log_target: Tensor, *, q: float = 0.7) -> Tensor:
    """Return `Σ t (1 − p^q) / q`, the generalised cross-entropy (GCE).

    Between the cross-entropy (`q → 0`) and, at `q = 1`, half the mean absolute error `Σ |t − p| / 2 = 1 − p_y`.

    Source: Z. Zhang and M. Sabuncu, arXiv 1805.07836, NeurIPS 2018.
    """
    return expectation(log_target, -(q * log_belief).expm1() / q)


def symmetric_cross_entropy(log_belief: Tensor, log_target: Tensor, *, alpha: float = 0.1, beta: float = 1.0) -> Tensor:
    """Return `α·CE + β·RCE` with the reverse cross-entropy `RCE = −Σ p log t`, where `log t` is `LOG_ZERO` at least (SCE).

    For a one-hot target RCE is `−LOG_ZERO · (1 − p_y)`: the mean absolute error but for a factor. `β = 0` is `α·CE`.

    Source: Y. Wang et al., arXiv 1908.06112, ICCV 2019.
    """
    reverse = -(log_belief.exp() * log_target.clamp(min=LOG_ZERO)).sum(-1)
    return alpha * forward_kl(log_belief, log_target) + beta * reverse


def early_learning_regularized(log_belief: Tensor, log_target: Tensor, ensemble: Tensor, *, strength: float = 3.0) -> Tensor:
    """Return `CE + λ log(1 − ⟨p̄, p⟩)`, early-learning regularisation (ELR), which may be negative.

    `p̄` averages what the network said of the sample so far. The second term draws `p` to it, and the sharper `p̄`, the more:
    it holds on to what was learnt early, before wrong labels are memorised. `λ = 0` is CE, and so is `p̄ = 0`.

    Args:
        log_belief: `p`.
        log_target: `t`.
        ensemble: `p̄`, probabilities `[B, C]`, a constant.
        strength: λ.

    Source: S. Liu et al., arXiv 2007.00151, NeurIPS 2020.
    """
    agreement = (ensemble * clipped(log_belief.exp())).sum(-1)
    return forward_kl(log_belief, log_target) + strength * (-agreement).log1p()


def clipped(probabilities: Tensor) -> Tensor:
    """Return probabilities as ELR reads them, off 0 and 1."""
    return probabilities.clamp(_EDGE, 1 - _EDGE)
