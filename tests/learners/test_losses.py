"""The losses of methods that have one at the end: against their formulas, and at the ends of their settings."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import CLASSES
from tests.strategies import beliefs
from torchsid import Backprop
from torchsid.core.beliefs import forward_kl, log_target
from torchsid.learners.elr import ELR
from torchsid.learners.gce import GCE
from torchsid.learners.hard_bootstrap import HardBootstrap
from torchsid.learners.sce import LOG_ZERO, SCE
from torchsid.learners.soft_bootstrap import SoftBootstrap

NOTHING = nn.Identity()
METHODS = {method.__name__: method(NOTHING) for method in (Backprop, SoftBootstrap, HardBootstrap, GCE, SCE)}
every_method = pytest.mark.parametrize("name", METHODS)
GENERATOR = torch.Generator().manual_seed(3)
LOGITS = 3 * torch.randn(4, 3, CLASSES, generator=GENERATOR, dtype=torch.float64)  # [B, T, C]
OUTCOMES = torch.randint(CLASSES, (4, 3), generator=GENERATOR)
ROWS = torch.rand(4, 3, CLASSES, generator=GENERATOR, dtype=torch.float64).softmax(-1)
TARGETS = {
    "classes": log_target(OUTCOMES, CLASSES, dtype=torch.float64),
    "smoothed": log_target(OUTCOMES, CLASSES, label_smoothing=0.1, dtype=torch.float64),
    "rows": ROWS.log(),
}


def cross_entropy(t: list[float], p: list[float]) -> float:
    return -sum(t_c * math.log(p_c) for t_c, p_c in zip(t, p, strict=True) if t_c)


def written_out(name: str, p: list[float], t: list[float]) -> float:
    """The loss at one position by the formula of its paper; CE is less the entropy of the target."""
    entropy = cross_entropy(t, t)
    answer = [float(c == p.index(max(p))) for c in range(len(p))]
    match name:
        case "SoftBootstrap":
            return cross_entropy([0.95 * t_c + 0.05 * p_c for t_c, p_c in zip(t, p, strict=True)], p) - 0.95 * entropy
        case "HardBootstrap":
            return cross_entropy([0.8 * t_c + 0.2 * z_c for t_c, z_c in zip(t, answer, strict=True)], p) - 0.8 * entropy
        case "GCE":
            return sum(t_c * (1 - p_c**0.7) / 0.7 for t_c, p_c in zip(t, p, strict=True))
        case "SCE":
            reverse = -sum(p_c * math.log(max(t_c, 1e-4)) for t_c, p_c in zip(t, p, strict=True))
            return 0.1 * (cross_entropy(t, p) - entropy) + reverse
    return cross_entropy(t, p) - entropy


@pytest.mark.parametrize("kind", TARGETS)
@every_method
def test_it_is_the_formula_and_the_gradient_that_of_finite_differences(name: str, kind: str) -> None:
    def losses(logits: Tensor) -> Tensor:
        return METHODS[name].losses(logits.log_softmax(-1), TARGETS[kind], None)

    pairs = zip(LOGITS.softmax(-1).flatten(0, 1).tolist(), TARGETS[kind].exp().flatten(0, 1).tolist(), strict=True)
    expected = torch.tensor([written_out(name, p, t) for p, t in pairs], dtype=torch.float64).view(4, 3)
    torch.testing.assert_close(losses(LOGITS), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(losses, (LOGITS.clone().requires_grad_(),))


@pytest.mark.parametrize("name", [*METHODS, "ELR"])
def test_extreme_beliefs_have_finite_losses_and_gradients(name: str) -> None:
    logits = (200 * torch.eye(CLASSES).repeat(2, 1)).requires_grad_()  # float32: the others underflow to 0
    samples, classes = torch.arange(len(logits)), torch.arange(2 * CLASSES) // 2 % CLASSES  # some right, some wrong
    method = METHODS.get(name) or ELR(NOTHING)
    if isinstance(method, ELR):  # which was as sure before
        method.predictions, method.visits = logits.detach().softmax(-1), torch.ones(len(logits), dtype=torch.int64)
    loss = method.losses(logits.log_softmax(-1), log_target(classes, CLASSES), samples).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "method",
    [SoftBootstrap(NOTHING, beta=1.0), HardBootstrap(NOTHING, beta=1.0), SCE(NOTHING, alpha=1.0, beta=0.0), GCE(NOTHING, q=1e-9)],
)
def test_at_one_end_it_is_the_cross_entropy(method: Backprop) -> None:
    log_belief = LOGITS.log_softmax(-1)
    expected = F.nll_loss(log_belief.flatten(0, 1), OUTCOMES.flatten(), reduction="none").view(4, 3)
    torch.testing.assert_close(method.losses(log_belief, TARGETS["classes"], None), expected, rtol=1e-7, atol=1e-7)


@given(beliefs(1), st.floats(0.05, 1.0), st.integers(0, 1))
def test_gce_lies_between_the_absolute_error_and_the_cross_entropy(one: tuple[Tensor, ...], q: float, label: int) -> None:
    (log_belief,) = one
    log_p_y = log_target(torch.tensor(label), len(log_belief), dtype=torch.float64)
    absolute = (log_belief.exp() - log_p_y.exp()).abs().sum()
    torch.testing.assert_close(GCE(NOTHING, q=1.0).losses(log_belief, log_p_y, None), absolute / 2)
    torch.testing.assert_close(SCE(NOTHING, alpha=0.0).losses(log_belief, log_p_y, None), -LOG_ZERO * absolute / 2)
    assert absolute / 2 - 1e-12 <= GCE(NOTHING, q=q).losses(log_belief, log_p_y, None) <= forward_kl(log_belief, log_p_y) + 1e-12
