"""EWC, LwF and freezing against their equations, in float64."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks import CLASSES, INPUTS, assert_same_gradients, batch_at, gradients, small_batch, small_cascade
from torchsid import SID, Backprop, Learner, staged_cascade
from torchsid.learners.ewc import EWC, fisher
from torchsid.learners.freezing import Freezing
from torchsid.learners.lwf import LwF
from torchsid.settings import build

LAMBDA = 0.3


def staged() -> nn.Module:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    return staged_cascade(trunk, CLASSES, ["1", "3"], torch.zeros(2, INPUTS), max_head_share=100.0).double()


def plain(outputs: int = CLASSES) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def prepared(entry: Any, module: nn.Module, answer: tuple[int, ...] = (CLASSES,), **settings: Any) -> Learner:
    learner: Learner = build(entry, settings, module)
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.1)
    learner.prepare_training(samples=9, epochs=4, optimizer=optimizer, answer=torch.Size(answer))
    return learner


def move(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def step_of(learner: Learner, *batch: Tensor, **more: Any) -> dict[str, Tensor | None]:
    learner.module.zero_grad()
    learner.backward(*batch, **more)
    return gradients(learner.module)


def test_the_fisher_information_is_the_mean_squared_gradient_of_single_samples() -> None:
    learner, (x, target) = Backprop(plain()), small_batch()
    torch.manual_seed(3)
    found = fisher(learner, [(x[:4], target[:4], None), (x[4:], target[4:], None)], len(x) - 1)
    torch.manual_seed(3)
    total = {name: torch.zeros_like(each) for name, each in learner.module.named_parameters()}
    with torch.random.fork_rng():
        beliefs = learner.module(x).softmax(-1)
        drawn = torch.cat([torch.multinomial(part, 1) for part in (beliefs[:4], beliefs[4:])]).flatten()
    for i in range(len(x) - 1):
        loss = F.cross_entropy(learner.module(x[i : i + 1]), drawn[i : i + 1])
        for name, gradient in zip(total, torch.autograd.grad(loss, list(learner.module.parameters())), strict=True):
            total[name] += gradient**2 / (len(x) - 1)
    for name, expected in total.items():
        torch.testing.assert_close(found[name], expected)
    assert all(parameter.grad is None for parameter in learner.module.parameters())


@pytest.mark.parametrize(("entry", "module"), [(Backprop, plain), (SID, staged)])
def test_ewc_adds_the_gradient_of_its_penalty(entry: Any, module: Any) -> None:
    batch = small_batch()
    learner, alone = prepared(EWC, module(), method=entry.__name__.lower(), strength=50.0, fisher_samples=6), entry(module())
    expected = step_of(alone, *batch)
    step_of(learner, *batch)
    assert_same_gradients(learner.module, expected, 0)  # in the first phase
    for phase in (1, 2):
        learner.begin_phase(phase, [(*batch, None)])
        anchor = {name: each.detach().clone() for name, each in learner.module.named_parameters()}
        kept = {name: each.clone() for name, each in learner.state().items()}
        learner.begin_phase(phase, iter(()))  # as a run does that resumes within the phase
        torch.testing.assert_close(learner.state(), kept, rtol=0, atol=0)
        move(learner.module)
        alone.module.load_state_dict(learner.module.state_dict())
        weights = dict(alone.module.named_parameters())
        alone.module.zero_grad()
        alone.backward(*batch)
        penalty = sum((kept[f"fisher:{name}"] * (each - anchor[name]) ** 2).sum() for name, each in weights.items())
        (25.0 * penalty).backward()  # type: ignore[union-attr]
        expected = {name: torch.zeros_like(each) if each.grad is None else each.grad for name, each in weights.items()}
        step_of(learner, *batch)
        assert_same_gradients(learner.module, expected, 1e-12)


@pytest.mark.parametrize("share", [LAMBDA, "auto"])
def test_lwf_mixes_what_the_former_network_answers_into_the_target(share: float | str) -> None:
    learner, (x, target) = prepared(LwF, plain(), method="backprop", share=share), small_batch()
    weight = torch.rand(len(x), dtype=torch.float64)
    learner.begin_phase(1, [(x, target, None)])
    learner.begin_phase(2, [(x, target, None)])
    former = copy.deepcopy(learner.module)
    move(learner.module)
    part = 2 / 3 if share == "auto" else LAMBDA
    mixed = (1 - part) * F.one_hot(target, CLASSES).double() + part * former(x).softmax(-1).detach()
    alone = Backprop(copy.deepcopy(learner.module))
    expected = step_of(alone, x, mixed, weight=weight)
    step_of(learner, x, target, weight=weight)
    assert_same_gradients(learner.module, expected, 1e-12)


def test_each_stage_learns_from_its_own_former_belief() -> None:
    learner, (x, target) = prepared(LwF, staged(), share=LAMBDA, teacher="same-stage", alpha=1.0), small_batch()
    learner.begin_phase(1, [(x, target, None)])
    old = learner.log_beliefs(x)[1:]
    move(learner.module)
    cascade: Any = learner.module
    found = step_of(learner, x, target)
    for stage, log_belief in enumerate(_with_graphs(cascade, x)):
        mixed = (1 - LAMBDA) * F.one_hot(target, CLASSES) + LAMBDA * old[stage].exp()
        loss = -(mixed * log_belief).sum(-1).mean()
        named = dict(cascade.named_stage_parameters(stage))
        for name, gradient in zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True):
            expected = torch.zeros_like(named[name]) if gradient is None else gradient
            torch.testing.assert_close(found[name], expected, msg=name)


def _with_graphs(cascade: Any, x: Tensor) -> list[Tensor]:
    """The belief after every stage, each with the graph of its own stage alone."""
    made, previous = list[Tensor](), cascade.log_prior.expand(len(x), CLASSES)
    piece, features = [cascade.model[:2], cascade.model[2:4], cascade.model[4:]], x
    for stage in range(3):
        features = piece[stage](features.detach())
        logits = features if stage == 2 else cascade.heads[stage](features, previous)
        made.append(logits.log_softmax(-1))
        previous = made[-1].detach()
    return made


def test_where_tasks_have_positions_of_their_own_the_former_network_teaches_at_those_that_it_knows() -> None:
    x, target, _ = batch_at((3,))
    target = torch.full_like(target, -100)
    target[:, 1] = torch.arange(len(x)) % CLASSES  # a task at position 1, after one at position 0
    module = nn.Sequential(plain(3 * CLASSES), nn.Unflatten(-1, (3, CLASSES)))
    learner = prepared(LwF, module, (3, CLASSES), method="backprop", share=LAMBDA)
    first = torch.full_like(target, -100)
    first[:, 0] = 0
    learner.begin_phase(1, [(x, first, None)])
    old = learner.log_beliefs(x)[-1].exp()
    move(learner.module)
    found = step_of(learner, x, target)
    learner.module.zero_grad()
    log_belief = learner.module(x).log_softmax(-1)
    own = F.cross_entropy(learner.module(x)[:, 1], target[:, 1])
    ((1 - LAMBDA) * own - LAMBDA * (old[:, 0] * log_belief[:, 0]).sum(-1).mean()).backward()
    assert_same_gradients(learner.module, found, 1e-12)


def test_frozen_stages_stand_still_and_their_heads_go_on() -> None:
    learner, batch = prepared(Freezing, staged()), small_batch()
    assert all(gradient is not None for gradient in step_of(learner, *batch).values())
    for phase, still in ((1, {"0"}), (2, {"0", "2"}), (3, {"0", "2"})):
        learner.begin_phase(phase, iter(()))
        found = step_of(learner, *batch)
        assert {name.split(".")[1] for name, gradient in found.items() if gradient is None} == still
        assert all(found[name] is not None for name in found if not name.startswith("model."))


def test_what_they_cannot_retain_is_refused() -> None:
    with pytest.raises(ValueError, match="method is LwF, which retains by itself"):
        build(EWC, {"method": "lwf"}, staged())
    with pytest.raises(ValueError, match="for stages that learn by themselves: set method = 'sid'"):
        build(LwF, {"method": "backprop", "teacher": "same-stage"}, plain())
    with pytest.raises(ValueError, match="freezes the stages of a staged cascade, which SharedCascade is not"):
        build(Freezing, {}, small_cascade())
