import pytest
import torch
from torch import nn

from torchsid import SID, Backprop
from torchsid.errors import NonFiniteError
from torchsid.training.batches import Batch
from torchsid.training.build import build_learner, build_network
from torchsid.training.config import OptimizerConfig, TrainingConfig
from torchsid.training.optimization import build_optimizer
from torchsid.training.recipes import resolve
from torchsid.training.step import training_step


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))


def batch(value: float = 1.0, finite: bool = True) -> Batch:
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0, 0] = value
    return Batch(x, torch.tensor([0, 1, 2, 0, 1]), finite, torch.arange(5))


def test_a_step_moves_weights_and_counts_right_answers() -> None:
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    numbers = training_step(Backprop(module), torch.optim.SGD(module.parameters(), lr=0.1), batch(), TrainingConfig())
    assert (numbers.samples, len(numbers.correct)) == (5, 1)
    assert numbers.loss == numbers.stage_losses[0] > 0
    assert not any(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize(("finite", "words"), [(False, "images"), (True, "loss of stage 1")])
def test_nan_leaves_weights_and_running_statistics_alone(finite: bool, words: str) -> None:
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(NonFiniteError, match=words):
        training_step(Backprop(module), optimizer, batch(float("nan"), finite), TrainingConfig())
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())


def test_a_gradient_of_nan_is_named_by_its_parameter() -> None:
    module = network()
    module[1].bias.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NonFiniteError, match=r"gradient of 1\.bias"):
        training_step(Backprop(module), torch.optim.SGD(module.parameters(), lr=0.1), batch(), TrainingConfig())


def test_clipping_bounds_the_step() -> None:
    module = network()
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    training_step(Backprop(module), optimizer, batch(), TrainingConfig(clip_gradient=1e-3))
    moved = torch.cat([(a - b).flatten() for a, b in zip(module.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)


OPTIMIZERS = {
    "sgd": OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": OptimizerConfig(name="adamw", learning_rate=1e-2, weight_decay=0.1, weight_decay_on="weights", head_learning_rate=0.5),
}


def steps(update: str, optimizer_config: OptimizerConfig, precision: str) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses of a few steps of a small staged network with BatchNorm."""
    settings = ["model.trunk=resnet-18", "model.width=4", "model.max_head_share=9.0", f"learner.update={update}"]
    config = resolve("digits-staged", settings)
    torch.manual_seed(0)
    module = build_network(config, num_classes=3, channels=1, image_size=8)
    optimizer = build_optimizer(module, optimizer_config)
    learner = build_learner(module, config, optimizer)
    assert isinstance(learner, SID)
    losses = []
    for seed in range(4):
        x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        target = torch.tensor([0, 1, 2, 0, 1, 2])
        numbers = training_step(
            learner, optimizer, Batch(x, target, True, torch.arange(len(x))), TrainingConfig(precision=precision)
        )
        losses.append(numbers.loss)
    if update == "stage":
        assert all(parameter.grad is None for parameter in module.parameters())
    return module.state_dict(), losses


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updating_each_stage_at_once_gives_the_same_weights_to_the_bit(name: str, precision: str) -> None:
    together, losses = steps("together", OPTIMIZERS[name], precision)
    at_once, losses_at_once = steps("stage", OPTIMIZERS[name], precision)
    assert losses == losses_at_once
    assert all(torch.equal(at_once[key], tensor) for key, tensor in together.items())


def test_nan_ends_a_step_that_updates_each_stage_at_once() -> None:
    config = resolve("digits-staged", ["model.width=32", "learner.update=stage"])
    module = build_network(config, num_classes=3, channels=1, image_size=2)
    optimizer = build_optimizer(module, OptimizerConfig())
    with pytest.raises(NonFiniteError, match="loss of stage 1"):
        training_step(build_learner(module, config, optimizer), optimizer, batch(float("nan")), TrainingConfig())
