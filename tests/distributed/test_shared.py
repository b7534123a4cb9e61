"""A shared cascade on many workers: exact without staleness, ahead of its gradient with it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from tests.distributed.networks import CLASSES, Batches, batches, sgd
from tests.distributed.workers import error_of, in_workers
from torch import Tensor, nn

from torchsid import SID, shared_cascade
from torchsid.core.shared import SharedCascade, Stage
from torchsid.distributed.shared import SharedPipelinedSID
from torchsid.distributed.world import join

DEPTH = 5
SIZES = (8, 8, 8, 5)
EXAMPLE = torch.randn(2, 3, 2, 2)


def cascade() -> SharedCascade:
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16))
    return shared_cascade(nn.Sequential(*layers), CLASSES, DEPTH, hidden=8)


def two_epochs() -> Batches:
    return [*batches(SIZES), *batches(SIZES)]


def trained(learner: SID | SharedPipelinedSID, *, new_alpha: float | None = None) -> dict[str, Tensor]:
    """Take a step a batch, with `new_alpha` from the second epoch on if there is one."""
    learner.module.train()
    samples = torch.arange(sum(SIZES)).split(SIZES) * 2
    losses = []
    for step, (x, target) in enumerate(two_epochs()):
        torch.manual_seed(100 + step)
        if step == len(SIZES) and new_alpha is not None:
            learner.objective = replace(learner.objective, alpha=new_alpha)
        losses.append(learner.step(x, target, samples=samples[step]).stage_losses)
    if isinstance(learner, SharedPipelinedSID):
        learner.settle()
    learner.module.eval()
    evaluated = learner.log_beliefs(two_epochs()[0][0].repeat(3, 1, 1, 1))
    state = {f"weights.{name}": value for name, value in learner.module.state_dict().items()}
    return {"losses": torch.stack(losses), "evaluated": evaluated, **state}


def alone(*, remembers: bool = False, new_alpha: float | None = None, **settings: object) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    network = cascade()
    learner = SID(network, optimizer=sgd(network), teachers="last-epoch" if remembers else "same-batch", **settings)  # type: ignore[arg-type]
    learner.prepare_training(samples=sum(SIZES), epochs=2, optimizer=sgd(network), answer=torch.Size([network.num_classes]))
    return trained(learner, new_alpha=new_alpha)


def work(rank: int, *, remembers: bool = False, new_alpha: float | None = None, **settings: object) -> dict[str, Any]:
    with join(timeout=60) as world:
        learner = SharedPipelinedSID(
            cascade(),
            world,
            optimizer=sgd,
            batch_size=max(SIZES),
            example=EXAMPLE,
            remembers=sum(SIZES) if remembers else 0,
            **settings,  # type: ignore[arg-type]
        )
        result = trained(learner, new_alpha=new_alpha)
        learner.flush()
        world.gather(None)
        memory = learner.memory.tensors() if learner.memory else {}
        return {**result, "sent": learner.sent_bytes, **{f"memory.{name}": table for name, table in memory.items()}}


def assert_same(workers: list[dict[str, Any]], one: dict[str, Tensor]) -> None:
    assert torch.equal(workers[-1]["losses"], one["losses"])
    assert torch.equal(workers[-1]["evaluated"], one["evaluated"])
    whole = {name: value for each in workers for name, value in each.items() if name.startswith("weights.")}
    expected = {name: value for name, value in one.items() if name.startswith("weights.")}
    assert whole.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(whole[name], value)] == []


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("size", "remembers"), [(2, False), (3, False), (4, False), (2, True), (4, True)])
def test_workers_are_one_process_to_the_bit(size: int, remembers: bool) -> None:
    workers = in_workers(partial(work, remembers=remembers), size)
    assert_same(workers, alone(remembers=remembers))
    held = [name for each in workers for name in each if name.startswith("memory.")]
    assert held == ([f"memory.teacher:stages.{stage}" for stage in range(DEPTH)] if remembers else [])


def test_the_settings_of_the_objective_reach_every_stage() -> None:
    settings = {"alpha": "linear:1.0:0.2", "combine": "mean", "temperature": 2.0}
    assert_same(in_workers(partial(work, **settings), 3), alone(**settings))  # type: ignore[arg-type]


def test_another_objective_between_two_steps_reaches_every_stage() -> None:
    changed = alone(new_alpha=0.9)
    assert_same(in_workers(partial(work, new_alpha=0.9), 3), changed)
    assert not torch.equal(changed["losses"], alone()["losses"])


def test_an_extractor_that_runs_ahead_learns_from_older_gradients() -> None:
    exact, ahead = alone(), in_workers(partial(work, staleness=2), 3)
    assert not torch.equal(ahead[-1]["losses"], exact["losses"])
    assert torch.equal(ahead[-1]["losses"][0], exact["losses"][0])
    torch.testing.assert_close(ahead[-1]["losses"], exact["losses"], rtol=0.1, atol=0.1)
    again = in_workers(partial(work, staleness=2), 3)  # however the workers are timed
    assert all(
        torch.equal(each[name], other[name]) for each, other in zip(ahead, again, strict=True) for name in each if "." in name
    )


def test_staleness_is_a_delay_of_the_gradient() -> None:
    """Weights that are k updates old compute z; the gradient is theirs, and is applied to the newest."""
    torch.set_num_threads(1)
    network = cascade()
    optimizer = sgd(network.extractor)
    ahead = in_workers(partial(work, staleness=1), 2)
    fresh = {name: value.clone() for name, value in network.extractor.state_dict().items()}
    learner, late = SID(network, optimizer=sgd(network.stages)), []
    network.train()
    for step, (x, target) in enumerate(two_epochs()):
        torch.manual_seed(100 + step)
        z = network.extractor(x)
        part = SharedCascade(nn.Identity(), network.stages, CLASSES)  # type: ignore[arg-type]
        leaf = z.detach().requires_grad_()
        stages = SID(part)
        learner.optimizer.zero_grad()  # type: ignore[union-attr]
        out = stages.schedule(stages.new_step(leaf, target))
        learner.optimizer.step()  # type: ignore[union-attr]
        assert torch.equal(out.stage_losses, ahead[-1]["losses"][step]), step
        parameters = list(network.extractor.parameters())
        late.append(torch.autograd.grad(z, parameters, leaf.grad))
        if len(late) > 1:
            for parameter, gradient in zip(parameters, late.pop(0), strict=True):
                parameter.grad = gradient
            optimizer.step()
    assert any(not torch.equal(value, network.extractor.state_dict()[name]) for name, value in fresh.items())


def refused(rank: int) -> list[str]:
    class Widening(Stage):
        def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
            return 2 * features, self.head(features, log_belief)

    with join(timeout=60) as world:
        learner = partial(SharedPipelinedSID, world=world, optimizer=sgd, batch_size=8, example=EXAMPLE)
        network = cascade()
        own = SharedCascade(network.extractor, [Widening(stage.head) for stage in network.stages], CLASSES)  # type: ignore[arg-type]
        found = [
            error_of(lambda: learner(cascade(), staleness=-1, combine="pcgrad", queue=0)),
            error_of(lambda: learner(own)),
            error_of(lambda: learner(cascade()).backward(EXAMPLE, torch.zeros(2, dtype=torch.int64))),
        ]
        world.gather(None)
        return found


def test_what_cannot_be_spread_is_refused() -> None:
    for settings, features, backward in in_workers(refused):
        assert all(word in settings for word in ("staleness=-1", "combine='pcgrad'", "queue=0"))
        assert "stage 1 hands on features of its own" in features
        assert "call step" in backward
