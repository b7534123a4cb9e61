"""`SID.step` updates a stage as soon as its loss is differentiated, and takes the path of `backward` and `optimizer.step()`."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.core.test_step import deep
from tests.cut.classifiers import cut, images
from tests.networks import restless_extractor, small_batch, small_cascade
from torchsid import SID, Cascade
from torchsid.core import schedules

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def assert_takes_the_same_path(cascade: Cascade, x: Tensor, target: Tensor, optimizer: str, **settings: object) -> None:
    """Three steps each way from the same weights and seeds: bit for bit."""
    other = copy.deepcopy(cascade)
    stepping = SID(cascade, optimizer=OPTIMIZERS[optimizer](cascade.parameters()), **settings)
    plain, updates = SID(other, **settings), OPTIMIZERS[optimizer](other.parameters())
    before = copy.deepcopy(cascade.state_dict())
    for seed in range(3):
        torch.manual_seed(seed)
        found = stepping.step(x, target)
        torch.manual_seed(seed)
        updates.zero_grad()
        expected = plain.backward(x, target)
        updates.step()
        assert torch.equal(found.log_belief, expected.log_belief)
        assert torch.equal(found.stage_losses, expected.stage_losses)
    after = cascade.state_dict()
    for name, tensor in other.state_dict().items():
        assert torch.equal(after[name], tensor), name
    assert all(not torch.equal(after[name], before[name]) for name, _ in cascade.named_parameters())
    assert all(parameter.grad is None for parameter in cascade.parameters())


@every_optimizer
@pytest.mark.parametrize(("by", "window"), [("boundary", 1), ("graph", 1), ("boundary", 2)])
@pytest.mark.parametrize("name", ["resnet-18", "vit with dropout"])
def test_weights_are_those_of_backward_and_one_update(name: str, by: str, window: int, optimizer: str) -> None:
    x, target = images(name)
    assert_takes_the_same_path(cut(name, by=by).float(), x.float(), target, optimizer, window=window)


@pytest.mark.parametrize("window", [1, 2, 7, 8])
def test_many_stages_and_any_window(window: int) -> None:
    x, target = images("mlp")
    assert_takes_the_same_path(deep()[0].float(), x.float(), target, "Adam", window=window)


@every_optimizer
@pytest.mark.parametrize("combine", ["sum", "pcgrad"])
@pytest.mark.parametrize("schedule", schedules.names())
def test_shared_cascades_too(schedule: str, combine: str, optimizer: str) -> None:
    cascade = small_cascade(extractor=restless_extractor()).float()
    assert_takes_the_same_path(cascade, *small_batch(torch.float32), optimizer, schedule=schedule, combine=combine)


class Watch:
    """Looks at the weights and the gradients each time that a block of the trunk begins to run."""

    def __init__(self, cascade: Cascade, modules: list[nn.Module]) -> None:
        self.cascade = cascade
        self.before = copy.deepcopy(cascade.state_dict())
        self.updated: list[set[int]] = []  # the stages that have new weights
        self.with_gradients: list[set[int]] = []
        for module in modules:
            module.register_forward_pre_hook(self._look)

    def _look(self, module: nn.Module, args: object) -> None:
        self.updated.append(self.stages(lambda name, p: not torch.equal(p, self.before[name])))
        self.with_gradients.append(self.stages(lambda name, p: p.grad is not None))

    def stages(self, condition: Callable[[str, nn.Parameter], bool]) -> set[int]:
        return {
            stage
            for stage in range(self.cascade.depth)
            if any(condition(name, p) for name, p in self.cascade.named_stage_parameters(stage))
        }


@pytest.mark.parametrize("window", [1, 3])
def test_a_stage_is_updated_after_the_last_loss_that_reaches_it_and_before_the_next_stage_runs(window: int) -> None:
    cascade = deep()[0]
    watch = Watch(cascade, list(cascade.model.blocks))
    SID(cascade, window=window, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1)).step(*images("mlp"))
    assert watch.updated == [set(range(max(k - window + 1, 0))) for k in range(8)]
    assert watch.with_gradients == [set()] * 8 or window > 1
    assert watch.stages(lambda name, p: not torch.equal(p, watch.before[name])) == set(range(8))


def test_old_gradients_do_not_count() -> None:
    x, target = images("mlp")
    once, twice = cut("mlp"), cut("mlp")
    SID(twice).backward(x, target, scale=5.0)
    for cascade in (once, twice):
        SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1)).step(x, target)
    torch.testing.assert_close(once.state_dict(), twice.state_dict(), rtol=0, atol=0)


def test_the_scale_counts() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    before = copy.deepcopy(cascade.state_dict())
    learner = SID(cascade, optimizer=torch.optim.SGD(cascade.parameters(), lr=0.1))
    learner.step(x, target, scale=torch.tensor([0.0, 1.0, 0.0]))
    changed = {name for name, p in cascade.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, _ in cascade.named_stage_parameters(1)}


def test_without_an_optimizer_there_is_no_step() -> None:
    with pytest.raises(ValueError, match=r"step needs an optimiser: SID\(cascade, optimizer=torch.optim.SGD"):
        SID(small_cascade()).step(*small_batch())
