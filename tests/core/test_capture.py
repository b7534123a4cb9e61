"""A captured step leaves the weights that the step itself leaves, to the bit; what cannot be captured says why."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.core.recorder import CountedCudaGraphs, ProcessorGraphs
from tests.core.test_readout import X, Y, language_model
from tests.core.test_step import deep
from tests.cut.classifiers import cut, images
from tests.networks import restless_extractor, small_batch, small_cascade
from torchsid import SID, Backprop, Learner, StepOutput
from torchsid.core import beliefs
from torchsid.core.capture import WARM_UP, CapturedStep
from torchsid.learners.elr import ELR


@pytest.fixture(autouse=True)
def _on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are not checked, as they are not on a device."""
    monkeypatch.setattr(beliefs, "readable", lambda tensor: False)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.125, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.125, fused=True),
}


def whole_step(learner: Learner, optimizer: torch.optim.Optimizer) -> Callable[..., StepOutput]:
    """Return the step of a loop of one's own."""

    def step(x: Tensor, target: Tensor) -> StepOutput:
        optimizer.zero_grad()
        out = learner.backward(x, target)
        optimizer.step()
        return out

    return step


def assert_equal(module: nn.Module, other: nn.Module, tolerance: float = 0.0) -> None:
    found = module.state_dict()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance, msg=name)
        assert tensor.isfinite().all(), name


def assert_same_path(
    learner: Learner, x: Tensor, target: Tensor, optimizer: str = "SGD", graphs: Any = None, tolerance: float = 0.0
) -> None:
    """Twelve steps each way from the same weights: seeds, rates and α change, and every fourth batch is short."""
    twin = copy.deepcopy(learner)
    graphs, found = graphs or ProcessorGraphs(), []
    for each in (learner, twin):
        updates = OPTIMIZERS[optimizer](each.module.parameters())
        step: Any = whole_step(each, updates)
        if each is learner:
            step = CapturedStep(step, each, updates, recorder=graphs)
        outs = []
        for number in range(12):
            torch.manual_seed(number)
            updates.param_groups[0]["lr"] = 2.0 ** -(8 + number % 3)
            if number == 9 and each.objective:
                each.objective = replace(each.objective, alpha=0.3)
            size = len(x) if number % 4 < 3 else len(x) - 2
            outs.append(step(x[:size] + number / 12, target[:size]))
        found.append(outs)
    assert (graphs.recorded, graphs.replays) == (1, 9 - WARM_UP)
    for out, other in zip(*found, strict=True):
        torch.testing.assert_close(out.stage_losses, other.stage_losses, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(out.log_belief, other.log_belief, rtol=tolerance, atol=tolerance)
    assert_equal(learner.module, twin.module, tolerance)


@pytest.mark.parametrize(("window", "optimizer"), [(1, "SGD"), (2, "AdamW")])
def test_staged_cascade(window: int, optimizer: str) -> None:
    x, target = images("vit with dropout")
    cascade = cut("vit with dropout", by="graph").float()
    assert_same_path(SID(cascade, window=window, label_smoothing=0.1), x.float(), target, optimizer)


def test_end_to_end_window() -> None:
    x, target = images("mlp")
    cascade = deep()[0].float()
    assert_same_path(SID(cascade, window=cascade.depth, direction="reverse", label_smoothing=0.1), x.float(), target)


@pytest.mark.parametrize("settings", [{}, {"schedule": "batched"}, {"combine": "pcgrad"}], ids=str)
def test_shared_cascade(settings: dict[str, Any]) -> None:
    cascade = small_cascade(5, extractor=restless_extractor()).float()
    assert_same_path(SID(cascade, **settings), *small_batch(torch.float32), "AdamW")


def test_backpropagation() -> None:
    network = nn.Sequential(restless_extractor(), nn.Linear(5, 4))
    assert_same_path(Backprop(network, label_smoothing=0.1), *small_batch(torch.float32))


@pytest.mark.parametrize("method", [ELR, SID])
def test_memories_of_the_samples(method: type[Learner]) -> None:
    x, target = small_batch(torch.float32)
    cascade = small_cascade(3).float()
    learner = SID(cascade, teachers="last-epoch") if method is SID else method(cascade)
    optimizer = torch.optim.SGD(cascade.parameters(), lr=0.125, fused=True)
    learner.prepare_training(samples=12, epochs=1, optimizer=optimizer, answer=torch.Size([4]))
    twin, graphs = copy.deepcopy(learner), ProcessorGraphs()
    captured = CapturedStep(learner.backward, learner, recorder=graphs)
    for shift in range(6):
        samples = torch.arange(len(x)) + shift % 3
        captured(x, target, samples=samples)
        twin.backward(x, target, samples=samples)
    assert graphs.replays == 3
    for name, tensor in twin.state().items():
        assert torch.equal(learner.state()[name], tensor), name


def test_step_of_a_learner_that_updates_by_itself() -> None:
    x, target = images("mlp")
    learner = SID(deep()[0].float())
    twin = copy.deepcopy(learner)
    graphs = ProcessorGraphs()
    for each in (learner, twin):
        each.optimizer = OPTIMIZERS["AdamW"](each.module.parameters())
    captured = CapturedStep(learner.step, learner, recorder=graphs)
    for number in range(9):
        for each in (learner, twin):
            assert each.optimizer
            each.optimizer.param_groups[0]["lr"] = 2.0 ** -(8 + number % 2)
            next(each.module.parameters()).requires_grad_(number < 5)
        captured(x.float(), target)
        twin.step(x.float(), target)
    assert (graphs.recorded, graphs.replays) == (2, 3)
    assert_equal(learner.module, twin.module)
    assert all(parameter.grad is None for parameter in learner.module.parameters())


def test_a_shared_readout_is_refreshed() -> None:
    captured, eager = (language_model(head_settings={"refresh": 3}) for _ in range(2))
    graphs, steps = ProcessorGraphs(), list[Any]()
    for cascade in (captured, eager):
        optimizer = torch.optim.SGD(cascade.parameters(), lr=0.5, fused=True)
        learner = SID(cascade, optimizer=optimizer)
        steps.append(CapturedStep(learner.step, learner, recorder=graphs) if cascade is captured else learner.step)
    for _ in range(WARM_UP + 7):
        outs = [step(X, Y) for step in steps]
        assert torch.equal(outs[0].stage_losses, outs[1].stage_losses)
    assert graphs.replays == 7
    assert int(captured.readout.steps) == WARM_UP + 7  # type: ignore[union-attr]


def test_backward_adds_to_the_gradients_that_are_there() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3).float())
    twin, graphs = copy.deepcopy(learner), ProcessorGraphs()
    captured = CapturedStep(learner.backward, learner, recorder=graphs)
    for number in range(8):
        for each in (learner, twin):
            if number % 3 == 0:
                each.module.zero_grad(set_to_none=number != 6)
        captured(x + number, target, scale=0.5)
        twin.backward(x + number, target, scale=0.5)
        for own, other in zip(learner.module.parameters(), twin.module.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad, rtol=1e-6, atol=1e-7)
    assert graphs.replays == 5


def test_an_optimiser_that_loads_a_state_is_captured_anew() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3).float())
    twin, graphs = copy.deepcopy(learner), ProcessorGraphs()
    for each in (learner, twin):
        each.optimizer = optimizer = OPTIMIZERS["SGD"](each.module.parameters())
        step: Any = whole_step(each, optimizer)
        step = CapturedStep(step, each, optimizer, recorder=graphs) if each is learner else step
        for number in range(10):
            if number == 4:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            step(x, target)
    assert graphs.recorded == 2
    assert_equal(learner.module, twin.module)


class Hesitant(nn.Module):
    """What it does depends on its data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().mean()) > 0 else 2 * x


def test_a_step_that_waits_for_the_device_runs_eagerly_and_says_where() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3, extractor=nn.Sequential(restless_extractor(), Hesitant())).float())
    twin = copy.deepcopy(learner)
    for each in (learner, twin):
        optimizer = OPTIMIZERS["AdamW"](each.module.parameters())
        step: Any = whole_step(each, optimizer)
        if each is learner:
            step = CapturedStep(step, each, optimizer, recorder=ProcessorGraphs())
        torch.manual_seed(0)
        for number in range(6):
            if each is learner and number == WARM_UP:
                with pytest.warns(UserWarning, match=r"runs eagerly: extractor\.1 \(Hesitant\): .*waits for the device"):
                    step(x, target)
            else:
                step(x, target)
    assert_equal(learner.module, twin.module)


class LayerDrop(nn.Module):
    """Left out at random, as the host decides."""

    def forward(self, x: Tensor) -> Tensor:
        return x if random.random() < 0.5 else 2 * x


def test_random_numbers_of_the_host_are_not_captured() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3, extractor=nn.Sequential(nn.Linear(6, 5), LayerDrop())).float())
    twin, told = copy.deepcopy(learner), list[str]()
    step = CapturedStep(learner.backward, learner, recorder=ProcessorGraphs(), warn=told.append)
    for each in (step, twin.backward):
        random.seed(1)
        for _ in range(6):
            each(x, target)
    assert ["on the host" in line for line in told] == [True]
    for own, other in zip(learner.module.parameters(), twin.module.parameters(), strict=True):
        assert torch.equal(own.grad, other.grad)


def test_shapes_that_vary_and_callbacks_run_eagerly_and_say_so_once() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3).float())
    told: list[str] = []
    captured = CapturedStep(learner.backward, learner, recorder=(graphs := ProcessorGraphs()), warn=told.append)
    for size in (2, 3, 4, 5, 6, 7, 8):
        captured(x[:size], target[:size])
    for _ in range(5):
        captured(x, target, on_belief=lambda stage, log_belief: None)
    assert ["shapes" in told[0], "a function is given to it" in told[1], len(told)] == [True, True, 2]
    assert not graphs.recorded


def test_an_optimiser_whose_rate_is_read_in_python_keeps_to_it() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3).float())
    twin, graphs = copy.deepcopy(learner), ProcessorGraphs()
    for each in (learner, twin):
        optimizer = torch.optim.SGD(each.module.parameters(), lr=0.1)
        step: Any = whole_step(each, optimizer)
        step = CapturedStep(step, each, optimizer, recorder=graphs) if each is learner else step
        for number in range(10):
            optimizer.param_groups[0]["lr"] = 0.1 if number < 5 else 0.01
            step(x, target)
    assert graphs.recorded == 2
    assert_equal(learner.module, twin.module)


class Ramp(Backprop):
    """Weighs its loss by a number in Python, which a graph would not see change."""

    def begin_epoch(self, epoch: int) -> None:
        self.share = epoch / 4

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        return self.share * super().losses(log_belief, log_target, samples)


def test_a_number_of_the_learner_that_changes_is_captured_anew() -> None:
    x, target = small_batch(torch.float32)
    learner = Ramp(nn.Linear(6, 4))
    twin, graphs = copy.deepcopy(learner), ProcessorGraphs()
    step = CapturedStep(learner.backward, learner, recorder=graphs)
    for epoch in (1, 2, 3):
        for each in (learner, twin):
            each.begin_epoch(epoch)
        for _ in range(5):
            learner.module.zero_grad()
            twin.module.zero_grad()
            assert torch.equal(step(x, target).loss, twin.backward(x, target).loss)
            assert torch.equal(learner.module.weight.grad, twin.module.weight.grad)
    assert (graphs.recorded, graphs.replays) == (2, 4)


def test_without_cuda_it_is_a_plain_call() -> None:
    x, target = small_batch(torch.float32)
    learner = SID(small_cascade(3).float())
    told: list[int] = []
    out = CapturedStep(learner.backward, learner)(x, target, on_belief=lambda stage, log_belief: told.append(stage))
    assert torch.equal(out.log_belief, learner.backward(x, target).log_belief)
    assert told == [0, 1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="run it on a machine with a GPU")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_cuda_graphs(optimizer: str) -> None:
    """A capture that fails leaves the device fit for others, and for dropout."""
    x, target = small_batch(torch.float32)
    x, target = x.cuda(), target.cuda()
    hesitant = SID(small_cascade(3, extractor=nn.Sequential(restless_extractor(), Hesitant())).float().cuda())
    told: list[str] = []
    step = CapturedStep(hesitant.backward, hesitant, warn=told.append)
    for _ in range(6):
        step(x, target)
    assert ["extractor.1 (Hesitant)" in line for line in told] == [True]
    for schedule in ("streaming", "batched"):
        learner = SID(small_cascade(5, extractor=restless_extractor()).float().cuda(), schedule=schedule)
        assert_same_path(learner, x, target, optimizer, CountedCudaGraphs(torch.device("cuda")), 1e-5)
    x, target = images("vit with dropout")
    learner = SID(cut("vit with dropout", by="graph").float().cuda(), label_smoothing=0.1)
    assert_same_path(learner, x.float().cuda(), target.cuda(), optimizer, CountedCudaGraphs(torch.device("cuda")), 1e-5)
