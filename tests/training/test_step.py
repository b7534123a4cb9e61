import pytest
import torch
from torch import nn

from torchsid import Backprop
from torchsid.errors import NonFiniteError
from torchsid.training.batches import Batch
from torchsid.training.config import TrainingConfig
from torchsid.training.step import training_step


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))


def batch(value: float = 1.0, finite: bool = True) -> Batch:
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0, 0] = value
    return Batch(x, torch.tensor([0, 1, 2, 0, 1]), finite)


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
