"""Every loss against its formula, written out sample by sample, and against what it is at the ends of its setting."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchsid.learners.robust import (
    LOG_ZERO,
    early_learning_regularized,
    generalized_cross_entropy,
    hard_bootstrap,
    soft_bootstrap,
    symmetric_cross_entropy,
)

from tests.networks import BATCH, CLASSES, gradients, rows, small_batch, small_cascade
from tests.strategies import beliefs
from torchsid import Backprop
from torchsid.core.beliefs import forward_kl, log_target

ENSEMBLE = 0.6 * torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(5), dtype=torch.float64).softmax(-1)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft bootstrap": soft_bootstrap,
    "hard bootstrap": hard_bootstrap,
    "GCE": generalized_cross_entropy,
    "SCE": symmetric_cross_entropy,
    "ELR": partial(early_learning_regularized, ensemble=ENSEMBLE),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
shares = st.floats(0.05, 1.0)


def cross_entropy(t: list[float], p: list[float]) -> float:
    return -sum(t_c * math.log(p_c) for t_c, p_c in zip(t, p, strict=True) if t_c)


def entropy(p: list[float]) -> float:
    return cross_entropy(p, p)


def one_hot(index: int, count: int) -> list[float]:
    return [float(c == index) for c in range(count)]


def written_out(name: str, p: list[float], t: list[float], ensemble: list[float]) -> float:
    """The loss of one sample by the formula of its paper; CE is less the entropy of the target."""
    ce = cross_entropy(t, p) - entropy(t)
    answer = one_hot(p.index(max(p)), len(p))
    match name:
        case "soft bootstrap":
            return cross_entropy([0.95 * t_c + 0.05 * p_c for t_c, p_c in zip(t, p, strict=True)], p) - 0.95 * entropy(t)
        case "hard bootstrap":
            return cross_entropy([0.8 * t_c + 0.2 * z_c for t_c, z_c in zip(t, answer, strict=True)], p) - 0.8 * entropy(t)
        case "GCE":
            return sum(t_c * (1 - p_c**0.7) / 0.7 for t_c, p_c in zip(t, p, strict=True))
        case "SCE":
            return 0.1 * ce - sum(p_c * math.log(max(t_c, 1e-4)) for t_c, p_c in zip(t, p, strict=True))
    inner = sum(e_c * min(max(p_c, 1e-4), 1 - 1e-4) for e_c, p_c in zip(ensemble, p, strict=True))
    return ce + 3 * math.log(1 - inner)


def log_beliefs(sharpness: float = 3.0) -> Tensor:
    noise = torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (sharpness * noise).log_softmax(-1)


def targets(kind: str) -> Tensor:
    smoothing = 0.1 if kind == "smoothed" else 0.0
    target = rows() if kind == "rows" else small_batch()[1]
    return log_target(target, CLASSES, label_smoothing=smoothing, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["classes", "smoothed", "rows"])
@every_loss
def test_it_is_the_formula(name: str, kind: str) -> None:
    log_belief, log_p_y = log_beliefs(), targets(kind)
    pairs = zip(log_belief.exp().tolist(), log_p_y.exp().tolist(), ENSEMBLE.tolist(), strict=True)
    expected = torch.tensor([written_out(name, p, t, e) for p, t, e in pairs], dtype=torch.float64)
    torch.testing.assert_close(LOSSES[name](log_belief, log_p_y), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["classes", "smoothed"])
@every_loss
def test_its_gradient_in_the_logits_is_that_of_finite_differences(name: str, kind: str) -> None:
    logits, log_p_y = log_beliefs().requires_grad_(), targets(kind)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x.log_softmax(-1), log_p_y), (logits,))


@every_loss
def test_extreme_beliefs_have_finite_losses_and_gradients(name: str) -> None:
    logits = (200 * torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]).requires_grad_()  # float32: the others underflow to 0
    classes = torch.arange(BATCH) // 2 % CLASSES  # some right, some wrong
    loss = (
        LOSSES[name](logits.log_softmax(-1), log_target(classes, CLASSES))
        if name != "ELR"
        else early_learning_regularized(logits.log_softmax(-1), log_target(classes, CLASSES), logits.detach().softmax(-1))
    )
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        partial(soft_bootstrap, beta=1.0),
        partial(hard_bootstrap, beta=1.0),
        partial(symmetric_cross_entropy, alpha=1.0, beta=0.0),
        partial(early_learning_regularized, ensemble=ENSEMBLE, strength=0.0),
        partial(early_learning_regularized, ensemble=torch.zeros(BATCH, CLASSES)),
        partial(generalized_cross_entropy, q=1e-9),
    ],
)
def test_at_one_end_it_is_the_cross_entropy(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    log_belief, (_, classes) = log_beliefs(), small_batch()
    expected = F.nll_loss(log_belief, classes, reduction="none")
    torch.testing.assert_close(loss(log_belief, targets("classes")), expected, rtol=1e-7, atol=1e-7)


@given(beliefs(1), st.integers(0, 1))
def test_gce_with_q_one_and_the_reverse_cross_entropy_are_mean_absolute_errors(one: tuple[Tensor, ...], label: int) -> None:
    log_belief = one[0].unsqueeze(0)
    log_p_y = log_target(torch.tensor([label]), log_belief.shape[-1], dtype=torch.float64)
    absolute = (log_belief.exp() - log_p_y.exp()).abs().sum(-1)
    torch.testing.assert_close(generalized_cross_entropy(log_belief, log_p_y, q=1.0), absolute / 2)
    torch.testing.assert_close(symmetric_cross_entropy(log_belief, log_p_y, alpha=0.0), -LOG_ZERO * absolute / 2)


@given(beliefs(1), shares, st.integers(0, 1))
def test_gce_lies_between_the_absolute_error_and_the_cross_entropy(one: tuple[Tensor, ...], q: float, label: int) -> None:
    log_belief = one[0].unsqueeze(0)
    log_p_y = log_target(torch.tensor([label]), log_belief.shape[-1], dtype=torch.float64)
    loss = generalized_cross_entropy(log_belief, log_p_y, q=q)
    assert 1 - log_belief.exp()[0, label] - 1e-12 <= loss <= forward_kl(log_belief, log_p_y) + 1e-12


@given(beliefs(1), shares, st.integers(0, 1))
def test_gce_weighs_the_gradient_of_the_cross_entropy_by_the_belief_in_the_label(
    one: tuple[Tensor, ...], q: float, label: int
) -> None:
    logits = one[0].clone().requires_grad_()
    log_p_y = log_target(torch.tensor(label), len(logits), dtype=torch.float64)
    (found,) = torch.autograd.grad(generalized_cross_entropy(logits.log_softmax(-1), log_p_y, q=q), logits)
    (plain,) = torch.autograd.grad(forward_kl(logits.log_softmax(-1), log_p_y), logits)
    torch.testing.assert_close(found, one[0][label].exp() ** q * plain)


def test_hard_bootstrapping_takes_the_answer_as_a_constant() -> None:
    logits, log_p_y = log_beliefs().requires_grad_(), targets("classes")
    (found,) = torch.autograd.grad(hard_bootstrap(logits.log_softmax(-1), log_p_y, beta=0.3).sum(), logits)
    belief = logits.detach().softmax(-1)
    answer = F.one_hot(belief.argmax(-1), CLASSES)
    torch.testing.assert_close(found, belief - (0.3 * log_p_y.exp() + 0.7 * answer))


def test_early_learning_regularisation_pulls_towards_the_ensemble() -> None:
    """With a sure ensemble against the label, the gradient of λ = 3 raises the ensemble's class, that of CE lowers it."""
    logits = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    log_p_y = log_target(torch.tensor([1]), 3, dtype=torch.float64)
    ensemble = torch.tensor([[0.9, 0.05, 0.05]], dtype=torch.float64)
    slopes = [
        torch.autograd.grad(early_learning_regularized(logits.log_softmax(-1), log_p_y, ensemble, strength=strength), logits)[0]
        for strength in (0.0, 3.0)
    ]
    assert slopes[0][0, 0] > 0 > slopes[1][0, 0]


@every_loss
def test_backpropagation_takes_it(name: str) -> None:
    cascade, (x, classes) = small_cascade(), small_batch()
    loss = LOSSES[name](cascade(x).log_softmax(-1), targets("classes")).mean()
    expected = torch.autograd.grad(loss, list(cascade.parameters()))
    out = Backprop(cascade, loss=LOSSES[name]).backward(x, classes)
    torch.testing.assert_close(out.loss, loss.detach())
    for (key, found), gradient in zip(gradients(cascade).items(), expected, strict=True):
        torch.testing.assert_close(found, gradient, msg=lambda text, key=key: f"{key}: {text}")
