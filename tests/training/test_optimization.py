import math

import pytest
import torch
from torch import nn

from torchsid.core.staged import StagedCascade
from torchsid.training.build import build_network
from torchsid.training.config import OptimizerConfig
from torchsid.training.optimization import build_optimizer, gradient_norm, learning_rate, set_learning_rate
from torchsid.training.recipes import resolve

STEPS = 40


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.5])
def test_one_cycle_is_torchs(warmup: float) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=STEPS, pct_start=warmup, cycle_momentum=False
    )
    config = OptimizerConfig(learning_rate=0.1, schedule="one-cycle", warmup=warmup)
    for step in range(STEPS):
        assert learning_rate(step, STEPS, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    config = OptimizerConfig(learning_rate=0.1, schedule="cosine")
    for step in range(STEPS):
        assert learning_rate(step, STEPS, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_warm_up_is_a_straight_line_to_the_peak() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=0.1)
    assert [learning_rate(step, STEPS, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_learning_rate(schedule: str, steps: int) -> None:
    config = OptimizerConfig(learning_rate=0.1, schedule=schedule, warmup=0.5)
    assert all(0 <= learning_rate(step, steps, config) <= 0.1 for step in range(steps))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_settings_reach_the_optimiser(name: str) -> None:
    momentum = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerConfig(name=name, learning_rate=0.3, weight_decay=0.2, **momentum))
    assert type(optimizer).__name__.lower() == name
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert {key: group[key] for key in momentum} == momentum


@pytest.fixture
def staged() -> StagedCascade:
    module = build_network(resolve("digits-staged", ["model.width=32"]), num_classes=10, channels=1, image_size=8)
    assert isinstance(module, StagedCascade)
    return module


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_heads_have_a_learning_rate_of_their_own(staged: StagedCascade, name: str) -> None:
    optimizer = build_optimizer(staged, OptimizerConfig(name=name, learning_rate=0.4, head_learning_rate=0.25))
    trunk, heads = optimizer.param_groups
    assert (trunk["lr"], heads["lr"]) == (0.4, 0.1)
    set_learning_rate(optimizer, 0.2)
    assert (trunk["lr"], heads["lr"]) == (0.2, 0.05)
    assert set(heads["params"]) == set(staged.heads.parameters())
    assert set(trunk["params"]) == set(staged.model.parameters())


def test_weight_decay_can_leave_biases_and_normalisation_out(staged: StagedCascade) -> None:
    optimizer = build_optimizer(staged, OptimizerConfig(weight_decay=0.1, weight_decay_on="weights", head_learning_rate=2.0))
    assert len(optimizer.param_groups) == 4
    decay = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert set(decay) == set(staged.parameters())
    assert all(value == (0.1 if parameter.dim() > 1 else 0.0) for parameter, value in decay.items())


def test_gradient_norm_and_clipping() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert gradient_norm(layer).item() == 5.0
    assert layer.bias.grad.item() == 4.0
    assert gradient_norm(layer, clip=1.0).item() == 5.0
    assert math.isclose(gradient_norm(layer).item(), 1.0, rel_tol=1e-5)
