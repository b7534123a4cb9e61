import copy

import pytest
import torch
from torch import Tensor

from tests.networks import BATCH, CLASSES, assert_same_gradients, gradients, small_batch, small_cascade
from torchsid import Backprop
from torchsid.learners.elr import ELR
from torchsid.learners.predictions import PredictionMemory

SAMPLES = torch.arange(BATCH).flip(0) + 3


def memory() -> PredictionMemory:
    return PredictionMemory(BATCH + 5, CLASSES, dtype=torch.float64)


def reference(p: Tensor, y: Tensor, before: Tensor, strength: float, beta: float) -> tuple[Tensor, Tensor]:
    """Mean loss and new ensemble, by the procedure of the paper's code."""
    kept = p.clamp(1e-4, 1 - 1e-4)
    constant = kept.detach()
    ensemble = beta * before + (1 - beta) * constant / constant.sum(-1, keepdim=True)
    own = p[torch.arange(len(y)), y]
    return (-own.log() + strength * (1 - (ensemble * kept).sum(-1)).log()).mean(), ensemble


def test_three_epochs_follow_the_papers_procedure() -> None:
    cascade, (x, y) = small_cascade(), small_batch()
    other = copy.deepcopy(cascade)
    learner = ELR(cascade, memory=memory(), strength=2.0, beta=0.6)
    ensemble = torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    for _ in range(3):
        cascade.zero_grad()
        other.zero_grad()
        loss, ensemble = reference(other(x).softmax(-1), y, ensemble, 2.0, 0.6)
        loss.backward()
        out = learner.backward(x, y, samples=SAMPLES)
        torch.testing.assert_close(out.loss, loss.detach(), rtol=1e-10, atol=1e-10)
        assert_same_gradients(cascade, gradients(other), 1e-10)
        with torch.no_grad():  # the same step of both
            for module in (cascade, other):
                for parameter in module.parameters():
                    parameter -= 0.3 * parameter.grad
    assert learner.memory is not None
    torch.testing.assert_close(learner.memory.predictions[SAMPLES], ensemble)
    assert learner.memory.visits.tolist() == [0] * 3 + [3] * BATCH + [0] * 2


@pytest.mark.parametrize(("strength", "samples"), [(0.0, SAMPLES), (3.0, None)], ids=["lambda 0", "unknown samples"])
def test_it_is_plain_backpropagation_without_its_term(strength: float, samples: Tensor | None) -> None:
    cascade, batch = small_cascade(), small_batch()
    other = copy.deepcopy(cascade)
    learner = ELR(cascade, memory=memory(), strength=strength)
    for _ in range(2):
        out, expected = learner.backward(*batch, samples=samples), Backprop(other).backward(*batch)
        torch.testing.assert_close(out.loss, expected.loss)
    assert_same_gradients(cascade, gradients(other), 1e-12)
    assert learner.memory is not None
    assert bool(learner.memory.visits.any()) == (samples is not None)


def test_the_weight_multiplies_the_gradient_and_leaves_the_memory_alone() -> None:
    cascade, batch = small_cascade(), small_batch()
    found, memories = [], []
    for weight in (1.0, 0.25):
        learner = ELR(cascade, memory=memory())
        cascade.zero_grad()
        learner.backward(*batch, scale=weight, samples=SAMPLES)
        found.append(gradients(cascade))
        memories.append(learner.memory.predictions)  # type: ignore[union-attr]
    assert_same_gradients(cascade, {name: None if g is None else 0.25 * g for name, g in found[0].items()}, 1e-12)
    assert torch.equal(*memories)


def test_a_refused_target_leaves_the_memory_alone() -> None:
    learner, (x, y) = ELR(small_cascade(), memory=memory()), small_batch()
    with pytest.raises(ValueError, match="allowed are 0 to 3"):
        learner.backward(x, y + CLASSES, samples=SAMPLES)
    assert learner.memory is not None
    assert not learner.memory.visits.any()
