from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from torchsid import SID, Backprop
from torchsid.core.learner import Learner
from torchsid.core.staged import StagedCascade
from torchsid.errors import NonFiniteError
from torchsid.training import RunConfig, resolve
from torchsid.training.config import OptimizerConfig
from torchsid.training.setup import Batch, Setup, build_optimizer
from torchsid.training.step import Sums, learning_rate, training_step

from .test_setup import built
from .toys import Quiet

STEPS, CONFIG = 40, resolve("digits-bp")


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.5])
def test_schedules_are_torchs(warmup: float) -> None:
    """One-cycle with a warm-up, cosine without."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    if warmup:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS, pct_start=warmup, cycle_momentum=False)
    config = OptimizerConfig(learning_rate=0.1, schedule="one-cycle" if warmup else "cosine", warmup=warmup)
    for step in range(STEPS):
        assert learning_rate(step, STEPS, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()


def test_warm_up_is_a_straight_line_to_the_peak_and_the_shortest_runs_have_a_learning_rate() -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup=0.1)
    assert [learning_rate(step, STEPS, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    for schedule in ("constant", "cosine", "one-cycle"):
        short = OptimizerConfig(learning_rate=0.1, schedule=schedule, warmup=0.5)
        assert all(0 <= learning_rate(step, steps, short) <= 0.1 for steps in (1, 2, 3) for step in range(steps))


@pytest.fixture(scope="module")
def staged() -> StagedCascade:
    module: StagedCascade = built("digits-staged", "model.width=32").module
    return module


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_settings_reach_the_optimiser_and_heads_have_a_learning_rate_of_their_own(staged: StagedCascade, name: str) -> None:
    momentum = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    config = OptimizerConfig(name=name, learning_rate=0.4, head_learning_rate=0.25, weight_decay=0.2, **momentum)
    optimizer = build_optimizer(staged, config)
    trunk, heads = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (trunk["lr"], heads["lr"], trunk["weight_decay"]) == (0.4, 0.1, 0.2)
    assert {key: trunk[key] for key in momentum} == momentum
    images = Batch(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), None, True, torch.arange(2))
    step(SID(staged), images, optimizer, rate=0.2)
    assert (trunk["lr"], heads["lr"]) == (0.2, 0.05)
    assert set(heads["params"]) == set(staged.heads.parameters())
    assert set(trunk["params"]) == set(staged.model.parameters())
    optimizer = build_optimizer(staged, replace(config, weight_decay_on="weights"))  # neither biases nor normalisation
    decay = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decay == {parameter: 0.2 if parameter.dim() > 1 else 0.0 for parameter in staged.parameters()}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))


def batch(value: float = 1.0, *, finite: bool = True, weight: torch.Tensor | None = None) -> Batch:
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0, 0] = value
    return Batch(x, torch.tensor([0, 1, 2, 0, 1]), weight, finite, torch.arange(5))


def step(
    learner: Learner, batch: Batch, optimizer: Optimizer | None = None, *, rate: float = 1.0, config: RunConfig = CONFIG
) -> Sums:
    """Take a step, by default by gradient descent."""
    optimizer = optimizer or build_optimizer(learner.module, OptimizerConfig(name="sgd"))
    nothing, device = cast(Any, None), torch.device("cpu")
    setup = Setup(config=config, device=device, task=nothing, splits=nothing, learner=learner, optimizer=optimizer)
    return training_step(setup, batch, rate)


@pytest.mark.parametrize("method", [Backprop, Quiet])
def test_a_step_moves_weights_and_counts_right_answers(method: type[Backprop]) -> None:
    module, weight = network(), torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0])
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    numbers = step(method(module), batch(weight=weight))
    assert not any(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    module.load_state_dict(before)
    logits, target = module.train()(batch().x), batch().target
    losses = nn.functional.cross_entropy(logits, target, reduction="none")
    assert (numbers.samples, numbers.positions) == (5, 4.5)
    assert numbers.correct == [((logits.argmax(-1) == target) * weight).sum().item()]
    assert numbers.stage_losses == pytest.approx([(losses * weight).sum().item()], rel=1e-6)


@pytest.mark.parametrize(
    ("value", "finite", "words"), [("nan", False, "inputs"), ("nan", True, "loss of stage 1"), ("1", True, r"gradient of 1\.bias")]
)
def test_nan_is_named_and_leaves_weights_and_running_statistics_alone(value: str, finite: bool, words: str) -> None:
    module = network()
    module[1].bias.register_hook(lambda gradient: gradient * float("nan"))
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with pytest.raises(NonFiniteError, match=words):
        step(Backprop(module), batch(float(value), finite=finite))
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


def test_clipping_bounds_the_step() -> None:
    module = network()
    before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    clipped = replace(CONFIG, optimizer=replace(CONFIG.optimizer, clip_gradient=1e-3))
    step(Backprop(module), batch(), config=clipped)
    moved = nn.utils.parameters_to_vector(module.parameters()) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)
