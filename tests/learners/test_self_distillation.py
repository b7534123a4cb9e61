import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks import BATCH, CLASSES, assert_same_gradients, gradients, rows, small_batch, small_cascade
from torchsid import Backprop
from torchsid.learners.predictions import PredictionMemory
from torchsid.learners.self_distillation import SelfDistillation

SAMPLES = torch.arange(BATCH).flip(0) + 3


def memory() -> PredictionMemory:
    return PredictionMemory(BATCH + 5, CLASSES, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["classes", "rows"])
def test_four_epochs_follow_the_papers_procedure(kind: str) -> None:
    """Of four epochs, and one more, in which α stays at its end."""
    cascade, (x, y) = small_cascade(), small_batch()
    target = y if kind == "classes" else rows()
    label = F.one_hot(y, CLASSES).double() if kind == "classes" else rows()
    other = copy.deepcopy(cascade)
    learner = SelfDistillation(cascade, epochs=4, memory=memory(), alpha=0.8)
    previous = label
    for alpha in (0.2, 0.4, 0.6, 0.8, 0.8):
        cascade.zero_grad()
        other.zero_grad()
        soft, log_p = (1 - alpha) * label + alpha * previous, other(x).log_softmax(-1)
        F.kl_div(log_p, soft, reduction="batchmean").backward()
        out = learner.backward(x, target, samples=SAMPLES)
        torch.testing.assert_close(out.loss, F.kl_div(log_p, soft, reduction="batchmean").detach(), rtol=1e-9, atol=1e-9)
        assert_same_gradients(cascade, gradients(other), 1e-10)
        previous = log_p.detach().exp()
        with torch.no_grad():
            for module in (cascade, other):
                for parameter in module.parameters():
                    parameter -= 0.3 * parameter.grad
    assert learner.memory is not None
    torch.testing.assert_close(learner.memory.predictions[SAMPLES], previous)


@pytest.mark.parametrize(("alpha", "samples"), [(0.0, SAMPLES), (0.8, None)], ids=["alpha 0", "unknown samples"])
def test_it_is_plain_backpropagation_without_its_own_predictions(alpha: float, samples: Tensor | None) -> None:
    cascade, batch = small_cascade(), small_batch()
    other = copy.deepcopy(cascade)
    learner = SelfDistillation(cascade, epochs=2, memory=memory(), alpha=alpha)
    for _ in range(2):
        out, expected = learner.backward(*batch, samples=samples), Backprop(other).backward(*batch)
        torch.testing.assert_close(out.loss, expected.loss)
    assert_same_gradients(cascade, gradients(other), 1e-12)


def test_at_alpha_one_the_last_epoch_learns_from_predictions_alone() -> None:
    cascade, (x, y) = small_cascade(), small_batch()
    learner = SelfDistillation(cascade, epochs=2, memory=memory(), alpha=1.0)
    learner.backward(x, y, samples=SAMPLES)
    cascade.zero_grad()
    out = learner.backward(x, y, samples=SAMPLES)  # with the weights that made the predictions
    assert out.loss.item() == pytest.approx(0.0, abs=1e-12)
    assert all(p.grad is not None and p.grad.abs().max() < 1e-12 for p in cascade.parameters())


def test_samples_are_distilled_by_their_own_epoch() -> None:
    """A sample that was not seen before learns from its label, next to one that was."""
    cascade, (x, y) = small_cascade(), small_batch()
    learner = SelfDistillation(cascade, epochs=2, memory=memory(), alpha=1.0)
    learner.backward(x[:4], y[:4], samples=torch.arange(4))
    out = learner.backward(x[:8], y[:8], samples=torch.arange(8))
    log_p = cascade(x).log_softmax(-1).detach()
    torch.testing.assert_close(out.loss, F.nll_loss(log_p[4:8], y[4:8], reduction="sum") / 8)


def test_the_weight_multiplies_the_gradient() -> None:
    cascade, batch = small_cascade(), small_batch()
    found = []
    for weight in (1.0, 0.25):
        learner = SelfDistillation(cascade, epochs=1, memory=memory())
        learner.backward(*batch, samples=SAMPLES)
        cascade.zero_grad()
        learner.backward(*batch, scale=weight, samples=SAMPLES)
        found.append(gradients(cascade))
    assert_same_gradients(cascade, {name: None if g is None else 0.25 * g for name, g in found[0].items()}, 1e-12)
