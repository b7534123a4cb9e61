"""The memory of predictions, and the two methods that learn from it, by the procedures of their papers."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks import BATCH, CLASSES, assert_same_gradients, gradients, small_batch, small_cascade
from torchsid import Backprop
from torchsid.learners.elr import ELR
from torchsid.learners.self_distillation import SelfDistillation

SAMPLES = torch.arange(BATCH).flip(0) + 3
Method = ELR | SelfDistillation


def ready(method: Method, *, epochs: int = 4, samples: int = BATCH + 5, answer: tuple[int, ...] = (CLASSES,)) -> Method:
    """The method with a memory in float64."""
    optimizer = torch.optim.SGD(method.module.parameters(), lr=0.1)
    method.prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=torch.Size(answer))
    method.predictions = method.state()["memory:predictions"].double()
    return method


def elr(log_p: Tensor, label: Tensor, before: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """Loss and new ensemble by the authors' code, with λ = 2 and β = 0.6."""
    kept = log_p.exp().clamp(1e-4, 1 - 1e-4)
    ensemble = 0.6 * before + 0.4 * kept.detach() / kept.detach().sum(-1, keepdim=True)
    return F.cross_entropy(log_p, label) + 2 * (1 - (ensemble * kept).sum(-1)).log().mean(), ensemble


def self_distillation(log_p: Tensor, label: Tensor, before: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """Loss and new predictions by the paper, with α_T = 0.8 and T = 4; a fifth epoch keeps the last α."""
    alpha = 0.2 * min(epoch, 4) if before.any() else 0.0
    return F.kl_div(log_p, (1 - alpha) * label + alpha * before, reduction="batchmean"), log_p.detach().exp()


PROCEDURES = [
    (lambda module: ELR(module, strength=2.0, beta=0.6), elr),
    (lambda module: SelfDistillation(module, alpha=0.8), self_distillation),
]


@pytest.mark.parametrize(("make", "procedure"), PROCEDURES, ids=["elr", "self-distillation"])
def test_five_epochs_follow_the_papers_procedure(
    make: Callable[..., Method], procedure: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    (x, y), other, held = small_batch(), small_cascade(), torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    learner = ready(make(copy.deepcopy(other)))
    for epoch in range(1, 6):
        for module in (learner.module, other):
            module.zero_grad()
        loss, held = procedure(other(x).log_softmax(-1), F.one_hot(y, CLASSES).double(), held, epoch)
        loss.backward()
        torch.testing.assert_close(learner.backward(x, y, samples=SAMPLES).loss, loss.detach(), rtol=1e-9, atol=1e-9)
        assert_same_gradients(learner.module, gradients(other), 1e-10)
        with torch.no_grad():  # the same step of both
            for parameter in (*learner.module.parameters(), *other.parameters()):
                parameter -= 0.3 * parameter.grad
    torch.testing.assert_close(learner.state()["memory:predictions"][SAMPLES], held)


@pytest.mark.parametrize("samples", [SAMPLES, None], ids=["weight 0", "unknown samples"])
@pytest.mark.parametrize(("method", "setting"), [(ELR, "strength"), (SelfDistillation, "alpha")])
def test_it_is_backpropagation_without_its_term(method: Callable[..., Method], setting: str, samples: Tensor | None) -> None:
    cascade, batch = small_cascade(), small_batch()
    learner = ready(method(copy.deepcopy(cascade), **({} if samples is None else {setting: 0.0})))
    for _ in range(2):
        torch.testing.assert_close(learner.backward(*batch, samples=samples).loss, Backprop(cascade).backward(*batch).loss)
    assert_same_gradients(learner.module, gradients(cascade), 1e-12)


def test_samples_are_distilled_by_their_own_epoch() -> None:
    """With α = 1 those that were seen learn from predictions alone, which are still right, and the others from their label."""
    learner, (x, y) = ready(SelfDistillation(small_cascade(), alpha=1.0), epochs=2), small_batch()
    learner.backward(x[:4], y[:4], samples=torch.arange(4))
    out = learner.backward(x[:8], y[:8], samples=torch.arange(8))
    log_p = learner.module(x).log_softmax(-1).detach()
    torch.testing.assert_close(out.loss, F.nll_loss(log_p[4:8], y[4:8], reduction="sum") / 8)


def test_the_memory_begins_with_zeros_and_returns_what_it_was_told() -> None:
    memory = ready(ELR(small_cascade()), samples=4, answer=(2, 3))
    told = torch.rand(2, 2, 3, dtype=torch.float64)  # two positions of three outcomes
    before, _ = memory.recall(torch.tensor([3, 1]))
    memory.remember(torch.tensor([3, 1]), told)
    memory.remember(torch.tensor([3]), torch.full((1, 2, 3), math.nan))  # of a step that may be skipped: leaves no trace
    predictions, visits = memory.recall(torch.tensor([1, 2, 3]))
    assert torch.equal(predictions, torch.stack([told[1], torch.zeros_like(told[0]), told[0]]))
    assert visits.tolist() == [1, 0, 1]
    assert not before.any()  # what was recalled does not change later
    for ask in (memory.recall, lambda rows: memory.remember(rows, told[:1])):
        with pytest.raises(ValueError, match="the memory is of 4, 0 to 3"):
            ask(torch.tensor([4]))
